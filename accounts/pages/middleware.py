"""What holds for all pages: staff have a second factor where STAFF_MFA asks for it, and a refusal is a page."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render

from accounts.services import second_factor
from gaas.lib.errors import DomainError
from gaas.lib.rest.refusals import refusal, wants_json

OPEN = ("/accounts/", "/static/", "/livez", "/readyz", "/favicon.ico")


class Gate:
    """Keep staff without a second factor from everything but setting one up; turn a DomainError into a page.

    A browser is led there, a program that comes with the browser's session is refused.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not settings.STAFF_MFA or request.path_info.startswith(OPEN) or not second_factor.is_missing(request.user):
            return self.get_response(request)
        if wants_json(request):
            where = f"{settings.BASE_URL}/accounts/2fa/"
            return refusal(403, "second_factor_missing", f"Staff log in with a second factor: set one up at {where}")
        return redirect("mfa_index")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        if not isinstance(error, DomainError) or wants_json(request):
            return None
        response = render(request, "refused.html", {"detail": error.detail}, status=error.status)
        for name, value in error.headers.items():
            response[name] = value
        return response
