from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest


class TestStrictJSON:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"{]",
            b'{"text": }',
            b"\xff\xfe{}",
            '{"text": "x"}'.encode("utf-16"),
            b'\xef\xbb\xbf{"text": "x"}',
            b'{"text": "\xc3\x28"}',
            b"   ",
            b"{'text': 1}",
            b'{"text": "a\nb"}',
        ],
    )
    def test_it_refuses_what_is_no_json(self, post: Any, body: bytes) -> None:
        answer = post(body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "parse_error"

    @pytest.mark.parametrize("body", ["[]", "[1]", '"x"', "1", "true", "null", "1.5"])
    def test_it_refuses_a_body_that_is_no_object(self, post: Any, body: str) -> None:
        assert post(body).status_code == 400

    @pytest.mark.parametrize("deep", [100, 999, 100_000])
    @pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
    def test_it_refuses_deep_nesting(self, post: Any, left: str, right: str, deep: int) -> None:
        answer = post(f'{{"anything": {left * deep}1{right * deep}}}')
        assert answer.status_code == 400
        assert "nested" in answer.json()["errors"][0]["detail"]

    def test_it_takes_many_brackets_side_by_side(self, post: Any) -> None:
        assert post(json.dumps({"anything": [[]] * 1000})).status_code == 200

    def test_it_refuses_a_key_that_stands_twice(self, post: Any) -> None:
        answer = post('{"hours": "1", "hours": "2"}')
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "duplicate_key"
        assert answer.json()["errors"][0]["attr"] == "hours"

    @pytest.mark.parametrize(
        "value", ['"\\u0000"', '"a\\ud800"', '"\\udc00b"', "NaN", "-Infinity", "1e309", "1" * 20, "9" * 5000]
    )
    @pytest.mark.parametrize("frame", ['{"anything": {"a": [1, %s]}}', '{"anything": {"a": {"1": %s}}}'])
    def test_it_names_the_value_that_no_database_takes(self, post: Any, frame: str, value: str) -> None:
        answer = post(frame % value)
        assert answer.status_code == 400, answer.content
        assert answer.json()["errors"][0]["attr"] == "anything.a.1"

    @pytest.mark.parametrize("key", ["\\u0000", "\\ud800", "a\\udfffb"])
    def test_it_refuses_such_keys_too(self, post: Any, key: str) -> None:
        assert post(f'{{"anything": {{"{key}": 1}}}}').status_code == 400

    def test_it_takes_a_whole_surrogate_pair(self, post: Any) -> None:
        assert post('{"text": "\\ud83d\\ude00"}').json()["inside"] == {"text": "😀"}

    def test_it_answers_a_full_body_of_brackets_in_bounded_time(self, post: Any) -> None:
        started = time.process_time()
        assert post("[" * 1_000_000).status_code == 400
        assert post('{"anything": [' + "[1]," * 200_000 + "[1]]}").status_code == 200
        assert time.process_time() - started < 10


class TestBody:
    def test_it_refuses_more_than_the_limit(self, post: Any) -> None:
        answer = post(json.dumps({"script": "x" * 1_100_000}))
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["code"] == "body_too_large"

    def test_it_refuses_thirty_megabytes_by_their_declared_length(self, post: Any) -> None:
        assert post(b"{" + b" " * 30_000_000).status_code == 413

    @pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
    def test_it_refuses_as_much_as_a_form(self, post: Any, kind: str) -> None:
        assert post(b"a=" + b"x" * 3_000_000, content_type=kind).status_code == 413

    def test_it_lets_a_view_take_more(self, post: Any) -> None:
        answer = post(json.dumps({"script": "x" * 1_100_000}), path="/api/v1/big/")
        assert answer.status_code == 400  # read whole, then too long for its field
        assert answer.json()["errors"][0]["attr"] == "script"

    @pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/jsonp", "x", "text/html; a=b"])
    def test_it_refuses_another_media_type(self, post: Any, kind: str) -> None:
        assert post('{"text": "x"}', content_type=kind).status_code == 415

    def test_it_refuses_a_packed_body(self, post: Any) -> None:
        answer = post(gzip.compress(b'{"text": "x"}'), HTTP_CONTENT_ENCODING="gzip")
        assert answer.status_code == 415

    def test_it_reads_utf_8_whatever_charset_is_claimed(self, post: Any) -> None:
        assert post('{"text": "é"}', content_type="application/json; charset=bz2").status_code == 200

    @pytest.mark.parametrize("body", ["a=1&" * 2000, "a=%00&text=%00"])
    def test_it_refuses_a_form_that_is_out_of_bounds(self, post: Any, body: str) -> None:
        assert post(body, content_type="application/x-www-form-urlencoded").status_code == 400

    def test_it_refuses_a_broken_multipart_body(self, post: Any) -> None:
        assert post(b"--x\r\nnope", content_type="multipart/form-data").status_code == 400

    def test_it_asks_for_fields_when_there_is_no_body(self, post: Any) -> None:
        assert post(b"").status_code == 200

    @pytest.mark.parametrize("length", ["abc", "-5", "1e3", "9" * 400])
    def test_it_survives_a_length_that_is_none(self, client: Any, length: str) -> None:
        answer = client.generic("POST", "/api/v1/echo/", b"", "application/json", CONTENT_LENGTH=length)
        assert answer.status_code in {200, 400, 413}


class TestUnknownFields:
    def test_it_names_each(self, post: Any) -> None:
        answer = post('{"owner": 1, "is_staff": true}')
        assert answer.status_code == 400
        assert {(e["attr"], e["code"]) for e in answer.json()["errors"]} == {
            ("owner", "unknown_field"),
            ("is_staff", "unknown_field"),
        }

    def test_it_refuses_a_field_that_is_only_read(self, post: Any) -> None:
        answer = post('{"status": "APPROVED"}')
        assert answer.json()["errors"][0] == {
            "code": "unknown_field",
            "detail": "This field cannot be set here. Leave it out.",
            "attr": "status",
        }

    def test_it_names_nested_ones_beside_other_errors(self, post: Any) -> None:
        answer = post('{"inner": {"name": 5, "nick": "x"}, "hours": 1.5}')
        assert {(e["attr"], e["code"]) for e in answer.json()["errors"]} == {
            ("inner.name", "invalid"),
            ("inner.nick", "unknown_field"),
            ("hours", "not_exact"),
        }

    def test_it_answers_a_thousand_of_them_shortly(self, post: Any) -> None:
        answer = post(json.dumps({f"{'k' * 200}{n}": 1 for n in range(1000)}))
        assert answer.status_code == 400
        assert len(answer.content) < 10_000

    def test_it_lets_the_framework_s_own_pass(self, client: Any) -> None:
        answer = client.post("/api/v1/echo/", {"csrfmiddlewaretoken": "x", "flag": "true", "inner.name": "n"})
        assert answer.status_code == 200, answer.content
        assert answer.json()["inside"]["inner"] == {"name": "n"}
