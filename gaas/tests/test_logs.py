from __future__ import annotations

import json
import logging.config
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog
from django.conf import settings

from gaas.lib import context
from gaas.logs import HIDDEN, logging_config

SECRETS = [
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "Api-Key gaas_0123456789abcdef",
    "gaash_0123456789abcdef",
    "Host gaash_0123456789abcdef",
]


@pytest.fixture
def write() -> Iterator[Any]:
    """Configure logs as asked, and give back what was written so far."""
    written = StringIO()

    def configure(*, as_json: bool) -> StringIO:
        config = logging_config(level="INFO", as_json=as_json)
        for handler in config["handlers"].values():
            handler["stream"] = written
        logging.config.dictConfig(config)
        return written

    yield configure
    logging.config.dictConfig(settings.LOGGING)


class TestJSONLines:
    def test_it_writes_one_object_an_event(self, write: Any) -> None:
        written = write(as_json=True)
        structlog.stdlib.get_logger("app").info("task_submitted", task="t1", hours="2.500000")
        logging.getLogger("app").warning("plain %s", "words", extra={"task": "t2"})
        first, second = [json.loads(line) for line in written.getvalue().splitlines()]
        assert {"event": "task_submitted", "task": "t1", "logger": "app", "level": "info"}.items() <= first.items()
        assert {"event": "plain words", "task": "t2", "level": "warning"}.items() <= second.items()
        assert first["at"].endswith("Z")

    @pytest.mark.parametrize("value", ["a\r\nb", "a\n{}", "a\u2028b", "a\x85b", "\x1b[2J", "\x00", "\ud800", "é"])
    def test_it_keeps_a_value_on_its_line(self, write: Any, value: str) -> None:
        written = write(as_json=True)
        structlog.stdlib.get_logger("app").info("event", value=value)
        logging.getLogger("app").info("by %s", value)
        lines = written.getvalue().splitlines()
        assert len(lines) == 2
        assert json.loads(lines[0])["value"] == value
        assert written.getvalue().isascii()

    def test_it_keeps_a_traceback_on_its_line(self, write: Any) -> None:
        written = write(as_json=True)
        try:
            raise RuntimeError("first\nsecond")
        except RuntimeError:
            structlog.stdlib.get_logger("error").exception("broke")
        (line,) = written.getvalue().splitlines()
        assert "second" in json.loads(line)["exception"]

    def test_it_adds_the_id_of_the_request(self, write: Any) -> None:
        written = write(as_json=True)
        token = context.request_id.set("r-1")
        structlog.stdlib.get_logger("app").info("event")
        context.request_id.reset(token)
        assert json.loads(written.getvalue())["request_id"] == "r-1"


class TestSecrets:
    @pytest.mark.parametrize("as_json", [True, False])
    @pytest.mark.parametrize("secret", SECRETS)
    def test_it_hides_what_looks_like_one(self, write: Any, secret: str, as_json: bool) -> None:
        written = write(as_json=as_json)
        structlog.stdlib.get_logger("app").info(f"said {secret} here", note=secret, nested={"list": [secret]})
        logging.getLogger("app").info("by %s", secret)
        try:
            raise RuntimeError(secret)
        except RuntimeError:
            logging.getLogger("error").exception("broke")
        assert secret.split()[-1] not in written.getvalue()

    @pytest.mark.parametrize(
        "name", ["authorization", "Cookie", "password", "new_password", "secret", "join_token", "api_key", "otp"]
    )
    def test_it_hides_what_is_named_like_one(self, write: Any, name: str) -> None:
        written = write(as_json=True)
        structlog.stdlib.get_logger("app").info("event", **{name: "hunter2"}, headers={name: "hunter2"})
        line = json.loads(written.getvalue())
        assert line[name] == line["headers"][name] == HIDDEN

    def test_it_shows_a_count_of_tokens(self, write: Any) -> None:
        written = write(as_json=True)
        structlog.stdlib.get_logger("app").info("event", prompt_tokens=12)
        assert json.loads(written.getvalue())["prompt_tokens"] == 12


class TestConsole:
    @pytest.mark.parametrize("value", ["a\r\nb", "a\x1b[31m", "a\u2028b", "a\x9b1m"])
    def test_it_keeps_a_value_on_its_line(self, write: Any, value: str) -> None:
        written = write(as_json=False)
        structlog.stdlib.get_logger("app").info(value, value=value, nested={"value": value})
        logging.getLogger("app").info("by %s", value)
        lines = written.getvalue().splitlines()
        assert len(lines) == 2
        assert "\x1b" not in written.getvalue()
