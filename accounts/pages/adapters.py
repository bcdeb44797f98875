"""What django-allauth asks this platform: who may come in, where to, and what is written to whom."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from accounts.pages.next import is_safe
from accounts.services import lockout
from accounts.services.register import EmailNotVerified, check_verified
from gaas.audit.services import record
from gaas.lib import clock
from gaas.lib.ids import uuid7
from gaas.lib.rest.address import client_address
from gaas.lib.rest.throttles import count_log_in
from gaas.outbox import services as outbox

# What is written to a person when a way into their account changes, by the name that allauth has for it.
NOTICES = {
    "mfa/email/totp_activated": "An authenticator app was set up for your account",
    "mfa/email/totp_deactivated": "The authenticator app was taken off your account",
    "mfa/email/webauthn_added": "A security key was added to your account",
    "mfa/email/webauthn_removed": "A security key was taken off your account",
    "mfa/email/recovery_codes_generated": "New recovery codes were made for your account",
}


class AccountAdapter(DefaultAccountAdapter):
    """Log in by our own rules: throttled, locked out before the hash, only to where this server is."""

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Give the user of address and password. Raises what the throttle and the lock-out raise."""
        email = str(credentials.get("email") or "")
        count_log_in(email=email, meta=request.META)
        lockout.check(email=email, request=request)
        return authenticate(request, username=email, password=credentials.get("password"))

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Tell whether this is the user's password, which is asked for again before something delicate."""
        return self.authenticate(context.request, email=user.email, password=password) == user

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        response = super().pre_login(request, user, **kwargs)
        if response is not None:
            return response
        try:
            check_verified(user)
        except EmailNotVerified:
            return redirect("account_verify_email_first")
        return None

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

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Tell a person, and the record, that a way into their account changed."""
        what = NOTICES.get(template_prefix)
        if what is None:
            return
        record(action=f"second_factor.{template_prefix.removeprefix('mfa/email/')}", obj=user, by=user)
        outbox.post(
            to=user.email,
            subject=f"GaaS: {what[0].lower()}{what[1:]}",
            template="mail/security_notice.txt",
            context={
                "user": user,
                "what": what,
                "at": clock.now(),
                "address": client_address(self.request.META),
                "base_url": settings.BASE_URL,
            },
            key=f"notice:{uuid7()}",
        )


class SecondFactorAdapter(DefaultMFAAdapter):
    """Keep the secrets of second factors unreadable to whoever has the database alone."""

    def encrypt(self, text: str) -> str:
        return _sealer().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _sealer().decrypt(encrypted_text.encode()).decode()


def _sealer() -> Fernet:
    key = hashlib.sha256(b"accounts.second_factor:" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
