"""Files over HTTP: bodies that are streams, answers by ranges that no browser takes for a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import patch_cache_control
from django.utils.http import content_disposition_header, parse_etags
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from gaas.lib.errors import DomainError

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class RangeNotHere(DomainError):
    """State that a file has no byte in the range that was asked for."""

    status = 416
    code = "range_not_here"


@dataclass
class Body:
    """A request's body as it flows; `length` is what its header promises."""

    stream: IO[bytes]
    length: int


class StreamParser(BaseParser):
    """Hand the body over unread."""

    media_type = "application/octet-stream"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Body:
        request = (parser_context or {})["request"]
        return Body(stream, int(request.META.get("CONTENT_LENGTH") or 0))


class Octets(BaseRenderer):
    """Let clients ask for a file as bytes."""

    media_type = "application/octet-stream"
    format = "bin"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> Any:
        return data


def body_of(request: Request) -> Body:
    """Give the request's body as a stream; a request without one has an empty one."""
    data = request.data
    if isinstance(data, Body):
        return data
    if request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
        raise ValidationError({"": ErrorDetail("Send the bytes as application/octet-stream.", "invalid")})
    return Body(request._request, 0)


def number_of(request: Request, name: str, default: str = "") -> int:
    """Read a number from the address."""
    text = request.query_params.get(name, default)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValidationError({name: ErrorDetail("Give a number from 0.", "invalid")})
    return int(text)


def file_answer(
    request: HttpRequest | Request, *, name: str, size: int, sha256: str, read: Callable[[int, int], Iterator[bytes]]
) -> HttpResponseBase:
    """Answer a file, or the one range of it that is asked for; several ranges at once are answered by the whole.

    It is saved under the last part of its name, never shown, and never taken for another type than bytes.
    """
    etag = f'"{sha256}"'
    if {etag, "*"} & {tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))}:
        return _framed(HttpResponse(status=304), etag)
    start, end, status = 0, size, 200
    wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
    if wanted and wanted[0] != "bytes=-" and request.headers.get("If-Range", etag) == etag:
        start, end, status = *_bounds(wanted, size), 206
    answer: HttpResponseBase
    if request.method == "HEAD":
        answer = HttpResponse(status=status, content_type=Octets.media_type)
    else:
        answer = StreamingHttpResponse(read(start, end), status=status, content_type=Octets.media_type)
    answer["Content-Length"] = str(end - start)
    if status == 206:
        answer["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return _framed(download(answer, name), etag)


def download(answer: HttpResponseBase, name: str) -> HttpResponseBase:
    """Have an answer saved under a name, whatever its bytes look like."""
    answer["Content-Disposition"] = content_disposition_header(True, name.rpartition("/")[2])
    answer["X-Content-Type-Options"] = "nosniff"
    # Else the middleware would pack it, and ranges and lengths would be of something else.
    answer["Content-Encoding"] = "identity"
    return answer


def _framed(answer: HttpResponseBase, etag: str) -> HttpResponseBase:
    answer["ETag"] = etag
    answer["Accept-Ranges"] = "bytes"
    patch_cache_control(answer, private=True, no_cache=True)
    return answer


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    first, last = wanted[1], wanted[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= size or start >= end:
        raise RangeNotHere(f"The file has {size} bytes.", attr="Range", headers={"Content-Range": f"bytes */{size}"})
    return start, end
