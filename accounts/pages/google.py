"""The way to Google and back."""

from __future__ import annotations

import hmac
from dataclasses import asdict

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.pages import next as next_page
from accounts.services import connections, openid
from gaas.lib import clock
from gaas.lib.rest.throttles import count_call

KEPT = "openid"


@require_safe
@never_cache
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider, with words that only it and this session know."""
    next_page.check(request)
    journey = openid.Journey.begin()
    url = openid.authorization_url(journey)
    kept = {"next": request.GET.get("next", ""), "by": _who(request)}
    request.session[KEPT] = {**asdict(journey), **kept}
    return redirect(url)


@require_safe
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Take the browser back: log in, or connect for whoever is logged in. What was taken along is good once."""
    count_call("token_address", meta=request.META)
    kept = request.session.pop(KEPT, None)
    state = request.GET.get("state", "")
    is_same = kept is not None and hmac.compare_digest(state.encode(), kept["state"].encode())
    # A log-in keeps the session's words: else who began as nobody could connect their identity to who came after.
    if not is_same or kept.get("by") != _who(request):
        raise openid.ProviderRefused("This way back was not begun in this browser, or is used. Begin anew.")
    if "code" not in request.GET:
        messages.error(request, "Google did not let you in here.")
        return redirect("account_login")
    identity, _ = openid.by_code(code=request.GET["code"], nonce=kept["nonce"], verifier=kept["verifier"])
    if request.user.is_authenticated:
        connections.connect(user=request.user, identity=identity, now=clock.now())
        messages.success(request, "It is connected.")
        return redirect("socialaccount_connections")
    user = connections.user_of(identity=identity, now=clock.now())
    record_authentication(request, user, method="socialaccount", provider=connections.PROVIDER, uid=identity.uid)
    response: HttpResponse = perform_login(request, Login(user=user, redirect_url=kept["next"] or None))
    return response


def _who(request: HttpRequest) -> str:
    return str(request.user.pk) if request.user.is_authenticated else ""
