"""The few pages of the house itself: where people land, and what they see when something is refused."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from accounts.services import balances_of
from gaas.lib.amounts import show_hours
from gaas.lib.rest.refusals import DETAIL_OF_500, refusal, wants_json


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """Say what this is; to somebody who is logged in, what they have and what comes next."""
    context: dict[str, Any] = {"registration": settings.REGISTRATION, "welcome_hours": settings.WELCOME_HOURS}
    account = getattr(request.user, "personal_account", None) if request.user.is_authenticated else None
    if account is not None:
        balances = balances_of(account)
        context |= {
            "hours_available": show_hours(balances.hours_available),
            "hours_held": show_hours(balances.hours_held),
            "has_hours": balances.hours_available > 0,
        }
    return render(request, "landing.html", context)


@csrf_exempt
def unknown_route(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Answer every path under /api/ that no route has, with DEBUG on too."""
    return refusal(404, "not_found", "There is nothing at this path. The paths are listed at /api/docs/.")


unknown_route.is_fallback = True  # type: ignore[attr-defined]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django itself refuses: a foreign Host header, too many fields."""
    detail = "The request is malformed or names a host that this server does not answer for."
    if wants_json(request):
        return refusal(400, "bad_request", detail)
    return _page("refused.html", 400, status=400, detail=detail)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 outside of DRF."""
    if wants_json(request):
        return refusal(403, "permission_denied", "You do not have permission to do this.")
    return _page("403.html", 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 outside of DRF."""
    if wants_json(request):
        return refusal(404, "not_found", "There is nothing at this path. The paths are listed at /api/docs/.")
    return _page("404.html", 404)


def broken(request: HttpRequest) -> HttpResponse:
    """Answer 500 outside of DRF."""
    if wants_json(request):
        return refusal(500, "server_error", DETAIL_OF_500)
    return _page("500.html", 500)


def _page(template: str, code: int, **context: Any) -> HttpResponse:
    # Without the request: its context processors ask the database who this is, which may be what broke.
    return HttpResponse(loader.get_template(template).render(context), status=code)
