"""Answers that need not be sent twice."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.http import HttpResponseBase, HttpResponseNotModified
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags, quote_etag
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder


class ETagMixin:
    """Give a view's retrieve answers an ETag of their content, and 304 to whoever has it already.

    It saves the way, not the work: the row is read all the same, since rights may have changed.
    """

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        answer: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        if (
            getattr(self, "action", None) != "retrieve"
            or not isinstance(answer, Response)
            or answer.status_code != 200
            or getattr(answer, "accepted_media_type", "") != "application/json"
        ):
            return answer
        content = json.dumps(answer.data, cls=JSONEncoder, sort_keys=True).encode()
        etag = quote_etag(hashlib.blake2s(content, digest_size=16).hexdigest())
        answer["ETag"] = etag
        patch_cache_control(answer, private=True, no_cache=True)
        known = {tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))}
        if not known & {etag, "*"}:
            return answer
        unchanged = HttpResponseNotModified()
        for name in ("ETag", "Cache-Control", "Vary"):
            if answer.has_header(name):
                unchanged[name] = answer[name]
        return unchanged
