"""`.env.example` tells the truth: every setting that is read, with its default."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import environ
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = ROOT / "docker-compose.yml"


def settings_read() -> dict[str, object]:
    """Give the names that settings.py reads with their defaults, where those are plain values (else None)."""
    names: dict[str, object] = {}
    for node in ast.walk(ast.parse((ROOT / "gaas" / "settings.py").read_text())):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        called = ast.unparse(node.func)
        if called == "_timer":
            names[node.args[0].value] = ast.literal_eval(node.args[1])
        elif re.fullmatch(r"env\.\w+", called):
            given = next((word.value for word in node.keywords if word.arg == "default"), None)
            names[node.args[0].value] = given.value if isinstance(given, ast.Constant) else None
    return names


def names_of_compose() -> set[str]:
    """Give what docker-compose.yml takes from .env for itself, which no process of the platform reads."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))


def examples() -> dict[str, str]:
    """Give the commented settings of `.env.example` with their values."""
    return dict(re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))


class TestEnvExample:
    def test_it_names_each_setting_and_no_other(self) -> None:
        assert set(examples()) == set(settings_read()) | names_of_compose()

    def test_it_names_each_setting_once(self) -> None:
        named = re.findall(r"^# ([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)
        assert sorted(named) == sorted(set(named))

    def test_it_sets_nothing_until_someone_takes_the_comment_away(self) -> None:
        assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []

    @pytest.mark.parametrize("name", sorted(name for name, value in settings_read().items() if value is not None))
    def test_it_shows_the_default(self, name: str) -> None:
        default, shown = settings_read()[name], examples()[name]
        if isinstance(default, bool):
            assert (shown in environ.Env.BOOLEAN_TRUE_STRINGS) == default
        elif isinstance(default, int | float):
            assert float(shown) == default
        else:
            assert shown == default
