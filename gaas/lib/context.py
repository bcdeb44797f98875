"""What every line of one request's work may want to know: its id and where it came from.

Set by gaas.middleware for a request; empty in actors, commands and tests that set nothing.
"""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
address: ContextVar[str] = ContextVar("address", default="")
