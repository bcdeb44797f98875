"""Who calls, by an access token."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.tokens import Token

from accounts.models import User
from accounts.services.tokens import CHALLENGE, LogInRefused, live_log_in


class TokenAuthentication(BaseAuthentication):
    """Take `Authorization: Bearer <access token>`, in one query.

    Another scheme is left to other classes; a Bearer that is no live access token (a refresh token, a
    host's secret, a key, garbage) is refused, never passed on.
    """

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        scheme, _, credential = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        try:
            return live_log_in(token=credential.strip().decode("latin-1"))
        except LogInRefused as refusal:
            raise AuthenticationFailed(refusal.detail, code=refusal.code) from refusal

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE["WWW-Authenticate"]


class TokenScheme(OpenApiAuthenticationExtension):
    """Tell the schema how the token is sent."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
