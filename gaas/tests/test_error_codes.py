"""docs/errors.md lists exactly the codes that the code can answer."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("gaas", "accounts", "gpus", "payments", "tasks", "ai")

# Calls whose `code=` is none of the API's: a form's error is shown as text, a system check has an id.
# A review's code is for staff in the admin.
NOT_ANSWERED = frozenset({"forms.ValidationError", "ask"})

# What Django REST framework answers by itself through this API's serializers, parsers and views.
OF_THE_FRAMEWORK = frozenset(
    {
        "authentication_failed",
        "blank",
        "does_not_exist",
        "empty",
        "error",
        "invalid",
        "invalid_choice",
        "max_length",
        "method_not_allowed",
        "min_length",
        "not_a_dict",
        "not_a_list",
        "not_acceptable",
        "not_authenticated",
        "not_found",
        "null",
        "parse_error",
        "permission_denied",
        "required",
        "throttled",
        "unsupported_media_type",
    }
)


def sources() -> Iterator[Path]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if "tests" not in parts and "migrations" not in parts and parts[:2] != ("gpus", "agent"):
                yield path


def codes_in(tree: ast.Module) -> Iterator[str]:
    """Give each literal code: attributes of refusals, `code=` arguments, `fail(...)`, `refusal(status, code)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                yield from _of_attribute(statement)
        elif isinstance(node, ast.FunctionDef):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if argument.arg == "code" and default is not None:
                    yield from _literals(default)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in NOT_ANSWERED:
                continue
            for keyword in node.keywords:
                if keyword.arg == "code":
                    yield from _literals(keyword.value)
            if name.endswith("ValidationError") and len(node.args) > 1:
                yield from _literals(node.args[1])
            if name == "self.fail" and node.args:
                yield from _literals(node.args[0])
            if name in {"refusal", "_refused", "exchange.refuse"} and len(node.args) > 1:
                yield from _literals(node.args[1])
            if name == "refuse" and len(node.args) > 2:
                yield from _literals(node.args[2])


def _of_attribute(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        if statement.targets[0].id in {"code", "default_code"}:
            yield from _literals(statement.value)
    elif (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id in {"code", "default_code"}
        and statement.value
    ):
        yield from _literals(statement.value)


def _literals(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _literals(value.body)
        yield from _literals(value.orelse)
    elif isinstance(value, ast.BoolOp):
        for each in value.values:
            yield from _literals(each)


def codes_by_file() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sources():
        for code in codes_in(ast.parse(path.read_text())):
            found.setdefault(code, set()).add(str(path.relative_to(ROOT)))
    return found


def table(title: str) -> list[list[str]]:
    """Give the rows of the table under a heading of docs/errors.md."""
    section = (ROOT / "docs/errors.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def refusals() -> list[list[str]]:
    return table("Codes")


def failures() -> list[list[str]]:
    return table("Why an attempt or a task failed")


def of_payments() -> list[list[str]]:
    return table("Why a payment failed")


def of_payouts() -> list[list[str]]:
    return table("Why a payout failed")


def names(rows: list[list[str]]) -> list[str]:
    return [row[0].strip("`") for row in rows]


class TestErrorTable:
    def test_it_lists_every_code_that_the_code_answers(self) -> None:
        listed = {*names(refusals()), *names(failures()), *names(of_payments()), *names(of_payouts())}
        assert {code: sorted(files) for code, files in codes_by_file().items() if code not in listed} == {}

    def test_it_lists_no_code_that_nothing_answers(self) -> None:
        known = set(codes_by_file()) | OF_THE_FRAMEWORK
        assert [code for code in names(refusals()) if code not in known] == []

    def test_it_lists_no_failure_that_nothing_reports(self) -> None:
        text = "".join(p.read_text() for app in ("tasks", "gpus") for p in (ROOT / app).rglob("*.py"))
        assert [code for code in names(failures()) if f'"{code}"' not in text] == []

    @pytest.mark.parametrize("rows", [of_payments, of_payouts])
    def test_it_lists_no_failure_of_money_that_nothing_reports(self, rows: Callable[[], list[list[str]]]) -> None:
        text = "".join(path.read_text() for path in (ROOT / "payments").rglob("*.py"))
        assert [code for code in names(rows()) if f'"{code}"' not in text] == []

    def test_it_says_of_each_what_to_do(self) -> None:
        for code, status, meaning, way_out in refusals():
            assert re.fullmatch(r"`[a-z0-9_]+`", code)
            assert re.fullmatch(r"[45][0-9]{2}", status), code
            assert meaning.endswith("."), code
            assert way_out.endswith("."), code
        for code, fault, meaning, way_out in failures():
            assert fault in {"user", "host", "platform", "none"}, code
            assert meaning, code
            assert way_out, code

    @pytest.mark.parametrize("rows", [refusals, failures, of_payments, of_payouts])
    def test_it_stands_in_order_and_names_each_once(self, rows: Callable[[], list[list[str]]]) -> None:
        assert names(rows()) == sorted(set(names(rows())))


class TestCodesIn:
    @pytest.mark.parametrize(
        ("source", "codes"),
        [
            ("class A(DomainError):\n    code = 'a'", {"a"}),
            ("class A(DomainError):\n    code: str = 'a'", {"a"}),
            ("raise Conflict('x', code='b')", {"b"}),
            ("self.fail('c', n=1)", {"c"}),
            ("refusal(404, 'd', 'x')", {"d"}),
            ("raise X('x', code='e' if y else 'f')", {"e", "f"}),
            ("def f(*, code: str = 'h'):\n    pass", {"h"}),
            ("raise ValidationError('x', 'i')", {"i"}),
            ("raise forms.ValidationError('x', code='g')", set()),
        ],
    )
    def test_it_sees_a_code_wherever_it_is_written(self, source: str, codes: set[str]) -> None:
        assert set(codes_in(ast.parse(source))) == codes
