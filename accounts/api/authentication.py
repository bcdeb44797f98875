"""Who calls, by an access token or an API key."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.tokens import Token

from accounts.api.scopes import needed_scope
from accounts.models import ApiKey, User
from accounts.services import keys, second_factor
from accounts.services.tokens import CHALLENGE, LogInRefused, live_log_in
from gaas.lib.errors import NotAllowed
from gaas.lib.rest.address import client_address


class KeysNotTaken(NotAllowed):
    """Refuse a key where a person has to log in: keys themselves, passwords, second factors."""

    code = "key_not_allowed"

    def __init__(self) -> None:
        super().__init__("API keys are not taken here. Log in, and send an access token.")


class ScopeMissing(NotAllowed):
    """Refuse a key for what it was not made for."""

    code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs a key with the scope {scope}. Make one that has it.")


class KeyAuthentication(BaseAuthentication):
    """Take `Authorization: Api-Key gaas_…` or `Bearer gaas_…`, in one query; `request.auth` is the ApiKey.

    Stands before TokenAuthentication, to which it leaves every other Bearer. Whether the key's scopes cover
    the call is asked here too, so that no list of permissions of a view can leave the question out.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, credential = get_authorization_header(request).partition(b" ")
        text = credential.strip().decode("latin-1")
        if scheme.lower() != b"api-key" and not (scheme.lower() == b"bearer" and text.startswith(keys.PREFIX)):
            return None
        try:
            key = keys.find_key(text=text, address=client_address(request.META))
        except keys.KeyRefused as refusal:
            raise AuthenticationFailed(refusal.detail, code=refusal.code) from refusal
        scope = needed_scope(request.parser_context["view"], request.method)
        if scope is None:
            raise KeysNotTaken
        if scope not in key.scopes:
            raise ScopeMissing(scope)
        _refuse_missing_factor(request, key.user)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE["WWW-Authenticate"]


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
            user, token = live_log_in(token=credential.strip().decode("latin-1"))
        except LogInRefused as refusal:
            raise AuthenticationFailed(refusal.detail, code=refusal.code) from refusal
        _refuse_missing_factor(request, user)
        return user, token

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE["WWW-Authenticate"]


def _refuse_missing_factor(request: Request, user: User) -> None:
    """Raise SecondFactorMissing for staff who need one since they logged in.

    As the pages do; a view with `sets_up_second_factors` is open, or nobody could set one up again.
    """
    if not getattr(request.parser_context["view"], "sets_up_second_factors", False):
        second_factor.refuse_missing(user)


class TokenScheme(OpenApiAuthenticationExtension):
    """Tell the schema how the token is sent."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class KeyScheme(OpenApiAuthenticationExtension):
    """Tell the schema how a key is sent."""

    target_class = KeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key gaas_…`, or `Bearer gaas_…`; made by `api-keys/`, good for its scopes.",
        }
