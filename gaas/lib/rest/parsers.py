"""Reading JSON that a stranger wrote."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from gaas.lib.errors import DomainError
from gaas.lib.rest.refusals import BodyTooLarge

MAX_DEPTH = 32
MAX_DIGITS = 19

# Only a text that has one of these can hold a value which json takes and a database does not.
_SUSPICIOUS = re.compile(r"\\u0000|\\u[dD][89a-fA-F]|[0-9]{19}|[eE]\+?[0-9]{3}|NaN|Infinity")
_SURROGATE = re.compile("[\ud800-\udfff]")


class BadValue(DomainError):
    """State which value of a body cannot be stored by anything behind it."""

    code = "invalid"


class StrictJSONParser(BaseParser):
    """Parse a JSON body of bounded size and depth into values that every layer behind can hold.

    Refused with 400: other encodings than UTF-8, duplicate keys (two readers would see two bodies), NUL and
    lone surrogates in texts, NaN and infinities, integers of more than nineteen digits, nesting deeper
    than MAX_DEPTH; what stands under the key `unchecked` is left to the serializer. 413 over the
    view's `max_body_bytes`, else MAX_BODY_BYTES. 415 for a packed body.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer
    unchecked = ""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        context = parser_context or {}
        request = context.get("request")
        packing = request.META.get("HTTP_CONTENT_ENCODING", "") if request is not None else ""
        if packing.lower() not in ("", "identity"):
            raise UnsupportedMediaType(
                media_type or self.media_type, f"A body in Content-Encoding {packing[:40]} is not taken. Send it plain."
            )
        limit = getattr(context.get("view"), "max_body_bytes", None) or settings.MAX_BODY_BYTES
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(limit)
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParseError("The body is not UTF-8. Send UTF-8 JSON.") from error
        return read_json(text, unchecked=self.unchecked)


def read_json(text: str, *, unchecked: str = "") -> Any:
    """Read strict JSON; raise ParseError, or BadValue with the path of the value at fault."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    except RecursionError as error:
        raise ParseError(_too_deep()) from error
    except ValueError as error:
        raise ParseError(f"The body is not JSON: {error}.") from error
    if text.count("[") + text.count("{") > MAX_DEPTH or _SUSPICIOUS.search(text):
        is_spared = bool(unchecked) and isinstance(value, dict)
        _check({key: inner for key, inner in value.items() if key != unchecked} if is_spared else value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadValue("This key stands twice. Send it once.", code="duplicate_key", attr=_safe(key))
            seen.add(key)
    return found


def _integer(digits: str) -> int | float:
    # int() of thousands of digits is slow, and refused by Python past a limit of its own.
    return int(digits) if len(digits) <= 2 * MAX_DIGITS else math.inf


def _check(root: Any) -> None:
    """Walk without recursion, so that depth costs no stack."""
    todo: list[tuple[Any, str, int]] = [(root, "", 1)]
    while todo:
        value, path, depth = todo.pop()
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise BadValue("Give a finite number of at most 19 digits.", code="out_of_range", attr=path or None)
        elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            raise BadValue("Give a number of at most 19 digits.", code="out_of_range", attr=path or None)
        elif isinstance(value, (dict, list)):
            if depth > MAX_DEPTH:
                raise ParseError(_too_deep())
            prefix = f"{path}." if path else ""
            if isinstance(value, dict):
                for key, inner in value.items():
                    _check_text(key, prefix + _safe(key))
                    todo.append((inner, prefix + key[:100], depth + 1))
            else:
                todo.extend((inner, f"{prefix}{index}", depth + 1) for index, inner in enumerate(value))


def _check_text(text: str, path: str) -> None:
    if "\x00" in text:
        raise BadValue("The text has a NUL character. Leave it out.", code="control_character", attr=path or None)
    if _SURROGATE.search(text):
        raise BadValue("The text has half a surrogate pair. Send valid Unicode.", code="invalid", attr=path or None)


def _safe(key: str) -> str:
    """Write a key so that it can stand in an answer."""
    return _SURROGATE.sub("?", key.replace("\x00", "?"))[:100]


def _too_deep() -> str:
    return f"The body is nested deeper than {MAX_DEPTH} levels. Send it flatter."
