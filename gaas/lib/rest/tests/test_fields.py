from __future__ import annotations

import json
from typing import Any

import pytest


def refused(answer: Any, attr: str) -> str:
    """Give the code of the one error, having checked the shape of the answer."""
    body = answer.json()
    assert answer.status_code == 400, body
    assert set(body) == {"type", "errors", "request_id"}
    assert body["request_id"] == answer["X-Request-ID"]
    assert [error["attr"] for error in body["errors"]] == [attr], body
    assert body["errors"][0]["detail"]
    return str(body["errors"][0]["code"])


class TestHours:
    @pytest.mark.parametrize(
        ("given", "ms", "shown"),
        [
            ('"2.500000"', 9_000_000, "2.500000"),
            ("2", 7_200_000, "2.000000"),
            ('"0.000001"', 3, "0.000000"),
            ('"0.1"', 360_000, "0.100000"),
        ],
    )
    def test_it_reads_what_is_exact(self, post: Any, given: str, ms: int, shown: str) -> None:
        answer = post(f'{{"hours": {given}}}')
        assert answer.status_code == 200, answer.content
        assert answer.json() == {"inside": {"hours": ms}, "shown": {"hours": shown}}

    @pytest.mark.parametrize(
        "given",
        [
            "2.5",
            "-0.0",
            "1.0",
            "-1",
            "true",
            "false",
            "null",
            "[]",
            "[1]",
            "{}",
            '""',
            '" 2"',
            '"2 "',
            '"two"',
            '"1_0"',
            '"+1"',
            '"-1"',
            '"1e3"',
            '"NaN"',
            '"Infinity"',
            '"0x10"',
            '"01"',
            '".5"',
            '"5."',
            '"1.0000001"',
            '"1.' + "0" * 30 + '"',
            '"١"',
            '"１"',
            '"1,5"',
            '"2\\n"',
            str(2**63),
            '"' + "9" * 400 + '"',
            '"' + "9" * 50_000 + '"',
        ],
    )
    def test_it_refuses_what_is_not_exact(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"hours": {given}}}'), "hours") == "not_exact"

    @pytest.mark.parametrize("given", ["0", '"0"', '"0.000000"'])
    def test_it_refuses_nothing_at_all(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"hours": {given}}}'), "hours") == "min_value"

    @pytest.mark.parametrize("given", ["1000000000000000", '"999999999999999"'])
    def test_it_refuses_what_64_bits_cannot_hold(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"hours": {given}}}'), "hours") == "max_value"

    @pytest.mark.parametrize("given", ["NaN", "Infinity", "-Infinity", "1e309", "1e400", str(10**400), "9" * 5000])
    def test_it_names_the_field_of_a_number_that_json_cannot_carry(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"hours": {given}}}'), "hours") == "out_of_range"


class TestUsd:
    def test_it_counts_in_millionths(self, post: Any) -> None:
        assert post('{"usd": "1.25"}').json() == {"inside": {"usd": 1_250_000}, "shown": {"usd": "1.250000"}}

    def test_it_takes_zero_where_that_is_meant(self, post: Any) -> None:
        assert post('{"usd": "0"}').json()["inside"] == {"usd": 0}

    def test_it_refuses_a_float(self, post: Any) -> None:
        assert refused(post('{"usd": 1.25}'), "usd") == "not_exact"


class TestInteger:
    @pytest.mark.parametrize("given", ['"1_0"', '"1"', "1.0", "true", "null", "[1]", "{}", '"NaN"'])
    def test_it_refuses_what_is_no_integer(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"number": {given}}}'), "number") in {"invalid", "null"}

    @pytest.mark.parametrize(("given", "code"), [("0", "min_value"), ("9", "max_value"), (str(2**63), "max_value")])
    def test_it_keeps_its_bounds(self, post: Any, given: str, code: str) -> None:
        assert refused(post(f'{{"number": {given}}}'), "number") == code

    def test_it_reads_digits_from_a_form(self, client: Any) -> None:
        answer = client.post("/api/v1/echo/", {"number": "3", "flag": "true"}, format="multipart")
        assert answer.json()["inside"] == {"number": 3, "flag": True}

    def test_it_refuses_underscores_from_a_form(self, client: Any) -> None:
        answer = client.post("/api/v1/echo/", {"number": "1_0", "flag": "true"}, format="multipart")
        assert refused(answer, "number") == "invalid"


class TestBoolean:
    @pytest.mark.parametrize("given", ['"true"', "1", "0", '"yes"', "null", "[]"])
    def test_it_refuses_what_is_no_truth(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"flag": {given}}}'), "flag") in {"invalid", "null"}


class TestText:
    @pytest.mark.parametrize("given", ['""', '" "', '"\\n\\t "', '"\\u3000"'])
    def test_blanks_are_no_text(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"script": {given}}}'), "script") == "blank"

    @pytest.mark.parametrize("given", ["a\tb", "a\nb", "a\x1b[31m", "a\u2028b", "a\u202eb", "\x7f", "\x9b1m"])
    def test_it_refuses_controls(self, post: Any, given: str) -> None:
        assert refused(post(json.dumps({"text": f"x{given}y"})), "text") == "control_character"

    @pytest.mark.parametrize("given", ["1", "1.5", "true", "[]", "{}", "null"])
    def test_it_refuses_what_is_no_text(self, post: Any, given: str) -> None:
        assert refused(post(f'{{"text": {given}}}'), "text") in {"invalid", "null"}

    @pytest.mark.parametrize("field", ["text", "script"])
    def test_it_refuses_what_is_too_long(self, post: Any, field: str) -> None:
        assert refused(post(json.dumps({field: "(" * 50_000})), field) == "max_length"

    def test_it_keeps_the_lines_of_a_script(self, post: Any) -> None:
        script = "#!/bin/sh\n\techo hi\n"
        assert post(json.dumps({"script": script})).json()["inside"] == {"script": script}


class TestLabels:
    @pytest.mark.parametrize("given", [{"": "x"}, {"a b": "x"}, {"a" * 64: "x"}, {"a": 1}, {"a": ["x"]}, ["a"], "a"])
    def test_it_refuses_what_is_no_label(self, post: Any, given: Any) -> None:
        answer = post(json.dumps({"labels": given}))
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"].startswith("labels")
