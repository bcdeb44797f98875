"""What nobody should send to a submit or a quote: always a 4xx of the one shape that names the field."""

from __future__ import annotations

import json

import pytest

from accounts.ledger.models import Hold
from tasks.models import Task
from tasks.tests.rig import HOUR, a_body, hours_of, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URLS = {"submit": "/api/v1/tasks/", "quote": "/api/v1/tasks/quote/"}


@pytest.fixture(params=URLS)
def send(request, alice, api):
    """Send a body, as an object or as bytes; whatever it was, nothing may be stored or held."""
    client = api(alice)

    def post(body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(URLS[request.param], raw, content_type="application/json")

    yield post
    assert (Task.objects.count(), Hold.objects.count()) == (0, 0)
    assert hours_of(alice.personal_account) == (10 * HOUR, 0)


def raw(**fields: str) -> bytes:
    """Give a body in which these fields stand exactly as written."""
    sound = {key: json.dumps(value) for key, value in a_body().items()}
    return ("{" + ",".join(f'"{key}":{value}' for key, value in {**sound, **fields}.items()) + "}").encode()


class TestHours:
    @pytest.mark.parametrize(
        "written",
        [
            '"two"',
            '"1_0"',
            '"1.0000001"',
            '"-1"',
            "-1",
            '"NaN"',
            '"Infinity"',
            '"1e3"',
            '"+1"',
            '" 1"',
            '"1 "',
            '"01"',
            '".5"',
            '"5."',
            '"1,5"',
            '""',
            '"٣"',
            '"0x10"',
            "true",
            "false",
            "[]",
            '["2"]',
            "{}",
            "1.5",
            "2.0",
            "1e2",
        ],
    )
    def test_it_takes_plain_decimals_alone(self, send, written):
        refused(send(raw(hours=written)), 400, "not_exact", "hours")

    @pytest.mark.parametrize("written", ['"0"', "0", '"0.000000"'])
    def test_it_refuses_nothing_at_all(self, send, written):
        refused(send(raw(hours=written)), 400, "min_value", "hours")

    @pytest.mark.parametrize("written", ["1e400", "-1e400", "NaN", "Infinity", "9" * 30, "9" * 5000])
    def test_it_refuses_numbers_that_no_layer_can_hold(self, send, written):
        error = refused(send(raw(hours=written)), 400)
        assert error["code"] in ("out_of_range", "parse_error", "not_exact")
        assert error["attr"] == "hours" or error["code"] == "parse_error"

    @pytest.mark.parametrize("written", ['"168.000001"', "169", "1000000000", "1000000000000000"])
    def test_it_refuses_more_than_a_task_may_have(self, send, written):
        assert refused(send(raw(hours=written)), 400, attr="hours")["code"] in ("too_long", "max_value", "not_exact")

    def test_it_must_be_there(self, send):
        body = a_body()
        del body["hours"]
        refused(send(body), 400, "required", "hours")


class TestFields:
    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("gpus", 0, "min_value"),
            ("gpus", -1, "min_value"),
            ("gpus", 10**9, "max_value"),
            ("gpus", True, "invalid"),
            ("gpus", "1", "invalid"),
            ("gpus", "1_0", "invalid"),
            ("gpus", 1.0, "invalid"),
            ("gpus", None, "null"),
            ("gpus", [], "invalid"),
            ("kind", "train", "invalid"),
            ("kind", "", "blank"),
            ("kind", 5, "invalid"),
            ("title", "", "blank"),
            ("title", "x" * 201, "max_length"),
            ("title", "a\x07b", "control_character"),
            ("title", "a\nb", "control_character"),
            ("title", "\u202egnp.exe", "control_character"),
            ("title", 7, "invalid"),
            ("title", None, "null"),
            ("funding", "gold", "invalid_choice"),
            ("account", "mine", "invalid"),
            ("account", ["x"], "invalid"),
            ("host", "rig", "invalid"),
            ("host", "018f0000-0000-7000-8000-000000000000", "invalid"),
            ("min_vram_mib", 0, "min_value"),
            ("min_vram_mib", "80000", "invalid"),
            ("min_compute_capability", 9.0, "invalid"),
            ("min_compute_capability", "9", "invalid"),
            ("min_compute_capability", "9.0.1", "invalid"),
            ("labels", ["a"], "not_a_dict"),
            ("labels", {"bad key": "x"}, "bad_key"),
            ("max_price_per_hour_usd", "1", "invalid"),  # a price with quota hours
            ("max_price_per_hour_usd", 1.5, "not_exact"),
            ("max_price_per_hour_usd", "0", "min_value"),
            ("priority", 1, "invalid"),  # staff gives it
            ("priority", 101, "max_value"),
            ("priority", -101, "min_value"),
            ("retries", -1, "min_value"),
            ("retries", 11, "max_value"),
            ("max_wait_hours", "0", "min_value"),
            ("max_wait_hours", "1000000000", "max_value"),
            ("max_wait_hours", "1e3", "not_exact"),
            ("cost_code", "x" * 65, "max_length"),
            ("env", ["A=1"], "not_a_dict"),
            ("spec", "echo", "invalid"),
            ("spec", ["echo"], "invalid"),
            ("spec", None, "null"),
        ],
    )
    def test_it_names_the_field(self, send, field, value, code):
        refused(send(a_body(**{field: value})), 400, code, field)

    @pytest.mark.parametrize(
        ("env", "attr"),
        [
            ({"A=B": "x"}, "env.A=B"),
            ({"": "x"}, "env.?"),
            ({"1A": "x"}, "env.1A"),
            ({"Ä": "x"}, "env.Ä"),
            ({"A B": "x"}, "env.A B"),
            ({"GAAS_OUTPUT": "/"}, "env.GAAS_OUTPUT"),
            ({"gaas_output": "/"}, "env.gaas_output"),
            ({"A": 1}, "env.A"),
            ({"A": None}, "env.A"),
            ({"A": "x" * 40_000}, "env.A"),
        ],
    )
    def test_it_names_the_variable(self, send, env, attr):
        refused(send(a_body(env=env)), 400, attr=attr)

    @pytest.mark.parametrize(
        "env", [{f"V{i}": "" for i in range(129)}, {"A": "x" * 30_000, "B": "x" * 30_000, "C": "x" * 6000}]
    )
    def test_it_bounds_the_environment(self, send, env):
        refused(send(a_body(env=env)), 400, "invalid", "env")

    @pytest.mark.parametrize(
        "extra",
        [
            "status",
            "owner",
            "price",
            "balance",
            "approved_by",
            "id",
            "hold",
            "epoch",
            "submitted_by",
            "payer",
            "gpu_ms",
        ],
    )
    def test_nobody_assigns_what_is_not_theirs(self, send, extra):
        refused(send(a_body(**{extra: "COMPLETED"})), 400, "unknown_field", extra)

    def test_it_tells_all_mistakes_at_once(self, send):
        answer = send(a_body(gpus=0, hours="two", priority="high", colour="red"))
        refused(answer, 400)
        assert {error["attr"] for error in answer.json()["errors"]} == {"gpus", "hours", "priority", "colour"}


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "attr"),
        [
            ({}, "spec"),
            ({"command": ["true"], "script": "true"}, "spec"),
            ({"command": "echo hello"}, "spec.command"),
            ({"command": []}, "spec.command"),
            ({"command": {}}, "spec.command"),
            ({"command": ["x"] * 257}, "spec.command"),
            ({"command": ["echo", 5]}, "spec.command.1"),
            ({"command": [["echo"]]}, "spec.command.0"),
            ({"command": [" "]}, "spec.command.0"),
            ({"command": ["x" * 32_769]}, "spec.command.0"),
            ({"script": ""}, "spec.script"),
            ({"script": ["true"]}, "spec.script"),
            ({"script": "é" * 131_073}, "spec.script"),
            ({"command": ["true"], "image": ""}, "spec.image"),
            ({"command": ["true"], "image": 3}, "spec.image"),
            ({"command": ["true"], "image": "a/UPPER"}, "spec.image"),
            ({"command": ["true"], "image": "python:3.11 --privileged"}, "spec.image"),
            ({"command": ["true"], "image": "a" * 513}, "spec.image"),
            ({"command": ["true"], "image": "python", "image_pull": "sometimes"}, "spec.image_pull"),
            ({"command": ["true"], "image_pull": "always"}, "spec.image_pull"),
            ({"command": ["true"], "memory_mib": 0}, "spec.memory_mib"),
            ({"command": ["true"], "memory_mib": True}, "spec.memory_mib"),
            ({"command": ["true"], "memory_mib": 2**63}, "spec.memory_mib"),
            ({"command": ["true"], "network": "yes"}, "spec.network"),
            ({"command": ["true"], "network": 1}, "spec.network"),
            ({"command": ["true"], "sudo": True}, "spec.sudo"),
        ],
    )
    def test_it_names_the_part(self, send, spec, attr):
        refused(send(a_body(spec=spec)), 400, attr=attr)

    @pytest.mark.parametrize("spec", [{"script": "a\x00b"}, {"command": ["a\x00"]}, {"command": ["true"], "i\x00": 1}])
    def test_it_refuses_nul_bytes(self, send, spec):
        error = refused(send(a_body(spec=spec)), 400, "control_character")
        assert error["attr"].startswith("spec.")

    def test_it_refuses_ten_megabytes(self, send):
        refused(send(a_body(spec={"script": "x" * 10_000_000})), 413, "body_too_large")


class TestBody:
    @pytest.mark.parametrize("opening", [b"[", b'{"a":'])
    def test_it_refuses_what_is_a_hundred_thousand_deep(self, send, opening):
        refused(send(opening * 100_000), 400, "parse_error")

    def test_it_refuses_a_deep_spec(self, send):
        refused(send(raw(spec='{"command":' + "[" * 100 + "]" * 100 + "}")), 400, "parse_error")

    @pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"hours": }', b"\x00"])
    def test_it_refuses_what_is_no_json(self, send, body):
        refused(send(body), 400)

    @pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"5", b"[[]]", b"[1]"])
    def test_it_refuses_what_is_no_object(self, send, body):
        refused(send(body), 400)

    def test_it_refuses_a_key_twice(self, send):
        refused(send(b'{"hours": "1", "hours": "2"}'), 400, "duplicate_key", "hours")

    def test_it_refuses_half_a_surrogate(self, send):
        refused(send(raw(title='"\\ud800"')), 400, "invalid", "title")
