"""Three streams of events: `app` (what happened), `access` (who called), `error` (what broke).

Settings import this before Django is ready, so nothing here may touch models or settings.
Every event is one line of JSON, or one readable line on a console; both go to standard error, so that
what a command prints stays clean.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gaas.lib import context

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"authorization|cookie|passw|secret|token|api.?key|signature|credential|private.?key|^otp$|^ticket$|^code_verifier$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(?:\b(?:Bearer|Api-Key|Basic|Host)\s+[A-Za-z0-9._~+/=:-]{8,})"  # credentials as headers carry them
    r"|\bgaas[a-z]?_[A-Za-z0-9_-]{8,}"  # keys and host secrets of this platform
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"  # signed tokens
    r"|(?<=ticket=)[^&\s\"']+"
    r"|(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)",  # user:password@ of an address
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class NameAsError(logging.Filter):
    """Let Django's own reports of a broken request appear under `error`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.name = "error"
        return True


def add_context(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the request's id where there is one."""
    if request_id := context.request_id.get():
        event.setdefault("request_id", request_id)
    return event


def drop_objects(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop the request that Django attaches to its records: its text holds headers and bodies."""
    for name in ("request", "response", "taskName", "_logger", "_name"):
        event.pop(name, None)
    return event


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blank what is named like a secret, or looks like one wherever it stands."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    # A number by such a name counts tokens or requests; it is no secret.
    if isinstance(value, (str, bytes, dict, list, tuple)) and value and _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_VALUE.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden("", inner) for inner in value]
    return value


def escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    r"""Write CR, LF and terminal escapes as \xNN: a value must not forge a line or paint a console.

    A traceback keeps its lines; whoever reads a console wants it whole.
    """
    return {
        name: _CONTROL.sub(lambda m: ascii(m[0])[1:-1], value)
        if isinstance(value, str) and name not in ("exception", "stack")
        else value
        for name, value in event.items()
    }


def logging_config(*, level: str = "INFO", as_json: bool = True) -> dict[str, Any]:
    """Give the LOGGING dictionary, and set structlog up to write through it."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        drop_objects,
        add_context,
        # A line that is written later brings its moment.
        structlog.processors.MaybeTimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    # JSON escapes controls itself; a console line needs it done.
    last: list[Processor] = (
        [structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [
            escape_controls,
            structlog.dev.ConsoleRenderer(colors=False, timestamp_key="at", sort_keys=False),
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    one_line = {
        "()": "structlog.stdlib.ProcessorFormatter",
        "processors": [*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"name_as_error": {"()": "gaas.logs.NameAsError"}},
        "formatters": {"one_line": one_line},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "one_line"},
            "broken": {"class": "logging.StreamHandler", "formatter": "one_line", "filters": ["name_as_error"]},
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "app": {"handlers": ["stderr"], "level": level, "propagate": False},
            "access": {"handlers": ["stderr"], "level": level, "propagate": False},
            "error": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
            "django": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            # The access line tells of a 4xx already; a 5xx is worth its traceback.
            "django.request": {"handlers": ["broken"], "level": "ERROR", "propagate": False},
            # The development server's own access line would be a second one.
            "django.server": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
            # Anybody can send any Host header; the 400 stands in the access log.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }
