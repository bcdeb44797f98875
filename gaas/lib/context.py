"""What every line of one request's work may want to know: its id and where it came from.

Set by gaas.middleware for a request; empty in actors, commands and tests that set nothing.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from gaas.lib.ids import uuid7

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default="")
address: ContextVar[str] = ContextVar("address", default="")


def request_id_from(offered: str) -> str:
    """Take over a caller's X-Request-ID when it is harmless, so that its log and ours join up; else make one."""
    return offered if _SAFE_ID.fullmatch(offered) else str(uuid7())
