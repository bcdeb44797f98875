"""The way to Google and back."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from datetime import timedelta
from urllib.parse import urlsplit

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.account.models import Login
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.pages import next as next_page
from accounts.services import connections, openid
from gaas.lib import clock
from gaas.lib.rest.throttles import count_call

KEPT = "openid"
# Who came from another host was logged in there.
KNOWN = "somebody"
# A session lives for weeks; a way to Google and back takes a minute, with a password typed there.
LONGEST = timedelta(minutes=10)


@require_safe
@never_cache
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider, with words that only it and this session know.

    Who is logged in connects a way in, so the password or second factor is asked for again first.
    """
    next_page.check(request)
    journey = openid.Journey.begin()
    url = openid.authorization_url(journey)  # first, since nobody is asked anything where there is no way to go
    came = request.GET.get("came", "")
    if not came and urlsplit(f"//{request.get_host()}").hostname != urlsplit(settings.BASE_URL).hostname:
        # There and not here the way back would be known. Once: a proxy may name another host than the browser asks for.
        query = request.GET.copy()
        query["came"] = KNOWN if request.user.is_authenticated else "nobody"
        return redirect(f"{settings.BASE_URL}{request.path}?{query.urlencode(safe='/')}")
    if came == KNOWN and not request.user.is_authenticated:
        # A log-in there is none here, and who wanted to connect must not become somebody new.
        raise openid.ProviderRefused(f"Google leads back to {settings.BASE_URL} alone: log in there to connect it.")
    if request.user.is_authenticated and is_reauthentication_required(request, app=""):
        # Back to the page with the button: from a form's answer a browser goes to no other site, as our policy says.
        messages.info(request, "Say once more that it is you, then press Connect Google again.")
        return redirect(f"{reverse('account_reauthenticate')}?next={reverse('socialaccount_connections')}")
    kept = {"next": request.GET.get("next", ""), "by": _who(request), "begun_at": clock.now().timestamp()}
    request.session[KEPT] = {**asdict(journey), **kept}
    return redirect(url)


@require_safe
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Take the browser back: log in, or connect for whoever is logged in. What was taken is good once, for LONGEST."""
    count_call("token_address", meta=request.META)
    kept = request.session.pop(KEPT, None)
    state = request.GET.get("state", "")
    is_same = kept is not None and hmac.compare_digest(state.encode(), kept["state"].encode())
    # A log-in keeps the session's words: else who began as nobody could connect their identity to who came after.
    if not is_same or kept.get("by") != _who(request):
        raise openid.ProviderRefused("This way back was not begun in this browser, or is used. Begin anew.")
    if clock.now().timestamp() - kept.get("begun_at", 0) > LONGEST.total_seconds():
        minutes = LONGEST.seconds // 60
        raise openid.ProviderRefused(f"You were away at Google for more than {minutes} minutes. Begin anew.")
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
