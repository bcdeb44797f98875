"""What happens to a request before any view: its id, its log lines, its bounds, its slash."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template import loader
from django.urls import Resolver404, resolve
from django.utils.functional import SimpleLazyObject, empty

from gaas.health import livez, readyz
from gaas.lib import context
from gaas.lib.rest.address import client_address
from gaas.lib.rest.refusals import refusal, wants_json

GetResponse = Callable[[HttpRequest], HttpResponseBase]

access = structlog.stdlib.get_logger("access")

PROBES = {"/livez": livez, "/readyz": readyz}

_NUL = re.compile(r"%00|\x00")


class RequestLog:
    """Give every request an id and two lines in the access log; refuse what no view could take."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = context.request_id_from(request.headers.get("X-Request-ID", ""))
        address = client_address(request.META)
        tokens = context.request_id.set(request_id), context.address.set(address)
        line = {"method": request.method, "path": request.path[:500], "address": address}
        started = time.perf_counter()
        try:
            access.info("request", **line, agent=request.headers.get("User-Agent", "")[:200])
            if _NUL.search(request.META.get("QUERY_STRING", "")):
                # No database takes a NUL in text, and PostgreSQL says so by an exception.
                response: HttpResponseBase = refuse(
                    request, 400, "bad_request", "The query has a NUL character. Leave it out."
                )
            elif probe := PROBES.get(request.path_info):
                # Before the Host header is looked at: who probes a pod or a container does so by its address.
                response = probe(request)
            else:
                response = self.get_response(request)
            response["X-Request-ID"] = request_id
            if limit := getattr(request, "rate_limit", None):
                for name, value in zip(("Limit", "Remaining", "Reset"), limit, strict=True):
                    response[f"RateLimit-{name}"] = str(value)
            _log_response(request, response, line, request_id, started)
            return response
        finally:
            context.request_id.reset(tokens[0])
            context.address.reset(tokens[1])

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Refuse a body by its declared length before a byte of it is read.

        A view raises its own limit by `max_body_bytes`. A body without a length is empty to WSGI.
        """
        limit = body_limit(view) if wants_json(request) else page_limit(view, request)
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            return refuse(request, 400, "bad_request", "Content-Length is no number. Send the body's length in bytes.")
        if length > limit:
            return too_large(request, limit)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        if isinstance(error, RequestDataTooBig):
            return too_large(request, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        if isinstance(error, BadRequest) and wants_json(request):
            return refuse(request, 400, "bad_request", "The request is malformed.")
        return None


class SlashOptional:
    """Let an API path answer with and without its last slash, never by redirecting a body away.

    Only where the path as sent leads nowhere and its twin leads somewhere. /v1/ has no slashes, as the
    clients written for it expect.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path.startswith("/api/") and not leads_somewhere(path):
            twin = path[:-1] if path.endswith("/") else f"{path}/"
            if leads_somewhere(twin):
                request.path = request.path.removesuffix(path) + twin
                request.path_info = twin
        return self.get_response(request)


def leads_somewhere(path: str) -> bool:
    """Tell whether a view other than the answer for unknown routes stands at a path."""
    try:
        match = resolve(path)
    except Resolver404:
        return False
    return not getattr(match.func, "is_fallback", False)


def body_limit(view: Callable[..., Any]) -> int:
    """Give the most bytes that a view takes: its own `max_body_bytes`, else MAX_BODY_BYTES."""
    initkwargs = getattr(view, "initkwargs", None) or {}
    own = initkwargs.get("max_body_bytes") or getattr(getattr(view, "cls", view), "max_body_bytes", None)
    return own or settings.MAX_BODY_BYTES


def page_limit(view: Callable[..., Any], request: HttpRequest) -> int:
    """Give the most bytes that a page's form takes: its own `max_body_bytes` from whoever is logged in."""
    own = getattr(getattr(view, "view_class", None), "max_body_bytes", None)
    is_known = own is not None and request.user.is_authenticated
    return int(own) if own is not None and is_known else settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def too_large(request: HttpRequest, limit: int) -> HttpResponseBase:
    """Answer 413, naming the limit."""
    return refuse(
        request,
        413,
        "body_too_large",
        f"The body is larger than {limit} bytes, the most that is taken here. Send less.",
    )


def refuse(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponseBase:
    """Answer a refusal as JSON to programs, as a page to people."""
    if wants_json(request):
        return refusal(status, code, detail)
    # Without the request: its context processors ask the database who this is.
    return HttpResponse(loader.get_template("refused.html").render({"detail": detail}), status=status)


def _log_response(
    request: HttpRequest, response: HttpResponseBase, line: dict[str, Any], request_id: str, started: float
) -> None:
    def write(size: int | None) -> None:
        access.info(
            "response",
            **line,
            request_id=request_id,
            user=_user_id(request),
            status=response.status_code,
            size=size,
            duration_ms=round((time.perf_counter() - started) * 1000, 1),
        )

    if isinstance(response, HttpResponse):
        write(len(response.content))
    elif response.has_header("Content-Length"):
        write(int(response["Content-Length"]))
    elif getattr(response, "is_async", False):
        write(None)
    else:
        response.streaming_content = _Counted(response.streaming_content, write)  # type: ignore[attr-defined]


def _user_id(request: HttpRequest) -> str | None:
    """Give who the request turned out to be from, without a query to find out for the log alone."""
    user = request.__dict__.get("user")
    if user is None or (isinstance(user, SimpleLazyObject) and user._wrapped is empty):
        return None
    pk = getattr(user, "pk", None)
    return None if pk is None else str(pk)


class _Counted:
    """Pass a stream through and report how much of it went out when it ends or is cut."""

    def __init__(self, chunks: Iterator[bytes], report: Callable[[int], None]) -> None:
        self._chunks = iter(chunks)
        self._report: Callable[[int], None] | None = report
        self._size = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except BaseException:
            self.close()
            raise
        self._size += len(chunk)
        return chunk

    def close(self) -> None:
        if self._report is not None:
            self._report(self._size)
            self._report = None
