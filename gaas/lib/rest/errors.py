"""One shape of refusal for every exception of a view."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import UnreadablePostError
from django.utils.log import log_response
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from gaas.lib import context
from gaas.lib.errors import DomainError
from gaas.lib.rest.refusals import DETAIL_OF_500, BadRequest, BodyTooLarge
from gaas.lib.retry import DatabaseFull, is_disk_full

log = logging.getLogger("error")

SHAPED = frozenset({"json", "api"})


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
        if isinstance(exc, OperationalError) and is_disk_full(exc):
            log.critical("the database has no room: %s", exc)
            return Refused(DatabaseFull())
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

    def format_exception(self, exc: exceptions.APIException) -> dict[str, Any]:
        answer: dict[str, Any] = Formatter(exc, self.context, self.exc).run()
        return answer

    def get_response(self, exc: exceptions.APIException, data: dict[str, Any]) -> Response:
        request = self.context.get("request")
        if request is not None and getattr(getattr(request, "accepted_renderer", None), "format", "") not in SHAPED:
            # A view that answers text or a file refuses in the one shape all the same.
            request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        response: Response = super().get_response(exc, data)
        return response

    def get_headers(self, exc: exceptions.APIException) -> dict[str, str]:
        headers: dict[str, str] = super().get_headers(exc)
        headers.update(getattr(exc, "headers", {}))
        return headers

    def report_exception(self, exc: exceptions.APIException, response: Response) -> None:
        """Tell Django's listeners, and write the traceback to the log `error`."""
        if exc.status_code < 500 or isinstance(exc, Refused):
            return  # A refusal of 503 is an answer, and whoever raised it has said why.
        request = getattr(self.context.get("request"), "_request", None)
        signals.got_request_exception.send(sender=None, request=request)
        log_response(
            "%s at %s",
            type(self.exc).__name__,
            getattr(request, "path", ""),
            response=response,
            request=request,
            exception=self.exc,
        )


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
    return Handler(exc, handler_context).run()  # type: ignore[arg-type]
