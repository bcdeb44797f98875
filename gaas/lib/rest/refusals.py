"""Refusals below the level of fields, in the API's shape from inside and outside of DRF."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from rest_framework import exceptions

from gaas.lib import context

DETAIL_OF_500 = "Something broke on our side. Give the request_id when you ask about it."


class BodyTooLarge(exceptions.APIException):
    """State that a body is larger than its endpoint takes."""

    status_code = 413
    default_code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes, the most that is taken here. Send less.")


class BadRequest(exceptions.APIException):
    """State that a request is malformed below the level of fields."""

    status_code = 400
    default_code = "bad_request"
    default_detail = "The request is malformed. Send it as HTTP/1.1 with UTF-8 text."


def refusal(status: int, code: str, detail: str, *, attr: str | None = None) -> JsonResponse:
    """Answer in the API's shape from outside DRF: middleware and the handlers of unknown routes."""
    kind = "server_error" if status >= 500 else "client_error"
    return JsonResponse(
        {
            "type": kind,
            "errors": [{"code": code, "detail": detail, "attr": attr}],
            "request_id": context.request_id.get(),
        },
        status=status,
    )


def wants_json(request: HttpRequest) -> bool:
    """Tell whether a path belongs to programs, to which a page of HTML is no answer."""
    return request.path_info.startswith(("/api/", "/v1/"))
