"""What django-allauth asks this platform: who may come in, where to, and what is written to whom."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.internal.httpkit import is_headless_request
from allauth.headless.adapter import DefaultHeadlessAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from accounts.pages.next import is_safe
from accounts.services import app_log_in, lockout, security_keys
from accounts.services.register import EmailNotVerified, check_verified
from accounts.services.tokens import WrongLogIn
from gaas.lib.rest.address import client_address
from gaas.lib.rest.throttles import count_log_in


class AccountAdapter(DefaultAccountAdapter):
    """Log in by our own rules: throttled, locked out before the hash, only to where this server is."""

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Give the user of address and password. Raises what the throttle and the lock-out raise."""
        email = str(credentials.get("email") or "")
        if not getattr(request, "log_in_is_counted", False):
            count_log_in(email=email, meta=request.META)
        lockout.check(email=email, request=request)
        user: User | None = authenticate(request, username=email, password=credentials.get("password"))
        if user is None and is_headless_request(request) and not request.user.is_authenticated:
            raise WrongLogIn
        return user

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Tell whether this is the user's password, which is asked for again before something delicate."""
        return self.authenticate(context.request, email=user.email, password=password) == user

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Open no sign-up of allauth's own: there is ours."""
        return False

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        if is_headless_request(request):
            # What else an account must have is asked for once all factors are proven, as by auth/token.
            app_log_in.begin(request=request, user=user)
            return None
        response = super().pre_login(request, user, **kwargs)
        if response is not None:
            return response
        try:
            check_verified(user)
        except EmailNotVerified:
            return redirect("account_verify_email_first")
        return None

    def login(self, request: HttpRequest, user: Any) -> None:
        """Log a browser in; an app gets tokens in place of a session."""
        if is_headless_request(request):
            app_log_in.finish(request=request, user=user)
        else:
            super().login(request, user)

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        # An app's answer is made by the view, once, since making it begins a log-in.
        return HttpResponse() if is_headless_request(request) else super().post_login(request, user, **kwargs)

    def is_safe_url(self, url: str | None) -> bool:
        return is_safe(url)

    def get_client_ip(self, request: HttpRequest) -> str:
        # The column takes no empty address; a Unix socket without a proxy has none.
        return client_address(request.META) or "0.0.0.0"  # noqa: S104

    def is_ajax(self, request: HttpRequest) -> bool:
        # These are pages; programs have the API.
        return False

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **how: Any
    ) -> None:
        """Say nothing of what the next page shows by itself: that one is logged in."""
        if message_template != "account/messages/logged_in.txt":
            super().add_message(request, level, message_template, *args, **how)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Post nothing of allauth's own: each letter of ours has its verb."""


class AppAdapter(DefaultHeadlessAdapter):
    """Tell an app who its user is."""

    def serialize_user(self, user: Any) -> dict[str, Any]:
        return {
            "id": str(user.pk),
            "display": user.get_short_name(),
            "email": user.email,
            "has_usable_password": user.has_usable_password(),
        }


class SecondFactorAdapter(DefaultMFAAdapter):
    """Keep the secrets of second factors unreadable to whoever has the database alone."""

    def encrypt(self, text: str) -> str:
        return _sealer().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _sealer().decrypt(encrypted_text.encode()).decode()

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Bind keys to this platform's own address; allauth would bind them to whatever host is asked for."""
        return {"id": security_keys.rp_id(), "name": "GaaS"}


def _sealer() -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    derived = [hashlib.sha256(b"accounts.second_factor:" + key.encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])
