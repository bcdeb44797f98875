"""Registration and tokens: open to all, each in a throttle scope of its own."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts import services
from accounts.api.serializers import (
    EmailKeySerializer,
    LogInSerializer,
    RefreshSerializer,
    RegisteredSerializer,
    RegisterSerializer,
    TokenPairSerializer,
    VerifiedSerializer,
    VerifySerializer,
)
from accounts.services import tokens
from gaas.lib import clock
from gaas.lib.rest.throttles import ScopedThrottle, TokenAddressThrottle, TokenThrottle

NO_STORE = {"Cache-Control": "no-store"}


class OpenView(GenericAPIView):
    """Be a view that asks for no credential and so cannot stumble over a stale one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (ScopedThrottle,)
    pagination_class = None
    filter_backends = ()

    def read(self, request: Request) -> dict[str, Any]:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data


class RegisterView(OpenView):
    serializer_class = RegisterSerializer
    throttle_scope = "register"

    @extend_schema(operation_id="auth_register", responses={201: RegisteredSerializer})
    def post(self, request: Request, version: str) -> Response:
        """Ask for a user with a personal account and its welcome hours.

        The answer is the same whether or not the address is taken; what happened stands in the letter to it.
        """
        data = self.read(request)
        services.register(**data)
        detail = "If this address was free, its account is ready now: log in. A letter is on its way to it."
        return Response({"email": data["email"], "detail": detail}, status=status.HTTP_201_CREATED)


class VerifyEmailView(OpenView):
    """Where the letter's link leads: a page with the key filled in, which a POST takes."""

    serializer_class = EmailKeySerializer
    throttle_scope = "register"

    @extend_schema(exclude=True)
    def get(self, request: Request, version: str) -> Response:
        """Say what to do; following a link changes nothing, since mail scanners follow links too."""
        return Response({"detail": "POST the key of the letter to confirm the address."}, headers=NO_STORE)

    @extend_schema(operation_id="auth_email_verify", responses=RegisteredSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Confirm an address by the key of the letter that went to it."""
        email = services.verify_email(now=clock.now(), **self.read(request))
        return Response({"email": email, "detail": "This address is confirmed."}, headers=NO_STORE)


class LogInView(OpenView):
    serializer_class = LogInSerializer
    throttle_classes = (TokenThrottle, TokenAddressThrottle)

    @extend_schema(operation_id="auth_token", responses=TokenPairSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange address and password for an access and a refresh token."""
        return Response(_shown(tokens.log_in(request=request._request, **self.read(request))), headers=NO_STORE)


class RefreshView(OpenView):
    serializer_class = RefreshSerializer
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_token_refresh", responses=TokenPairSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange a refresh token, once, for a new pair. Using it again ends its log-in."""
        return Response(_shown(tokens.refresh_log_in(token=self.read(request)["refresh"])), headers=NO_STORE)


class VerifyView(OpenView):
    serializer_class = VerifySerializer
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_token_verify", responses=VerifiedSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Ask whether a token stands: 200 with its type, or 401."""
        _, token = tokens.live_log_in(token=self.read(request)["token"], kinds=(AccessToken, RefreshToken))
        return Response({"token_type": token.token_type}, headers=NO_STORE)


class LogOutView(OpenView):
    serializer_class = RefreshSerializer
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_logout", responses={204: None})
    def post(self, request: Request, version: str) -> Response:
        """End the log-in of a refresh token, its access tokens included."""
        tokens.log_out(token=self.read(request)["refresh"])
        return Response(status=status.HTTP_204_NO_CONTENT)


def _shown(pair: tokens.TokenPair) -> dict[str, str]:
    return {"access": pair.access, "refresh": pair.refresh}
