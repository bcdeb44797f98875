"""One shape of refusal for everything under /api/, whoever refuses."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, JsonResponse, UnreadablePostError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import exceptions
from rest_framework.response import Response

from gaas.lib import context
from gaas.lib.errors import DomainError

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


class Refused(exceptions.APIException):
    """Carry a DomainError through DRF's machinery."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(error.detail, error.code)
        self.status_code = error.status
        self.attr = error.attr
        self.headers = error.headers


class Handler(ExceptionHandler):
    """Turn every exception of a view into an answer; nothing is left for an HTML page."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, DomainError):
            return Refused(exc)
        if isinstance(exc, RequestDataTooBig):
            return BodyTooLarge(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        if isinstance(exc, (SuspiciousOperation, UnreadablePostError)):
            return BadRequest()
        return super().convert_known_exceptions(exc)

    def should_not_handle(self, exc: Exception) -> bool:
        # An API answers JSON with DEBUG on too; the traceback is in the log.
        return False

    def convert_unhandled_exceptions(self, exc: Exception) -> exceptions.APIException:
        if isinstance(exc, exceptions.APIException):
            return exc
        return exceptions.APIException(DETAIL_OF_500, code="server_error")

    def get_headers(self, exc: exceptions.APIException) -> dict[str, str]:
        headers: dict[str, str] = super().get_headers(exc)
        headers.update(getattr(exc, "headers", {}))
        return headers


class Formatter(ExceptionFormatter):
    """Add the request's id, and call a refusal with a field a validation error."""

    def get_error_type(self) -> str:  # type: ignore[override]
        if isinstance(self.exc, Refused) and self.exc.attr and self.exc.status_code == 400:
            return "validation_error"
        return super().get_error_type()

    def get_errors(self) -> list[Any]:
        errors = super().get_errors()
        if isinstance(self.exc, Refused):
            for error in errors:
                error.attr = self.exc.attr
        return errors

    def format_error_response(self, error_response: Any) -> dict[str, Any]:
        return {**super().format_error_response(error_response), "request_id": context.request_id.get()}


def exception_handler(exc: Exception, handler_context: dict[str, Any]) -> Response | None:
    """Answer an exception of a DRF view; see Handler and Formatter for the shape."""
    handler = Handler(exc, handler_context)  # type: ignore[arg-type]
    handler.format_exception = lambda known: Formatter(known, handler_context, exc).run()  # type: ignore[method-assign, arg-type]
    return handler.run()


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
