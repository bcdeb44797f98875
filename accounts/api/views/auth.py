"""Registration and tokens: open to all, each in a throttle scope of its own."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts import services
from accounts.api.serializers import (
    ChangePasswordSerializer,
    DetailSerializer,
    EmailKeySerializer,
    GoogleSerializer,
    LogInSerializer,
    LogOutSerializer,
    RefreshSerializer,
    RegisteredSerializer,
    RegisterSerializer,
    ResetConfirmSerializer,
    ResetSerializer,
    TokenPairSerializer,
    VerifiedSerializer,
    VerifySerializer,
)
from accounts.services import connections, passwords, tokens
from gaas.lib import clock
from gaas.lib.rest.bodies import ReadsBody
from gaas.lib.rest.filters import StrictQuery
from gaas.lib.rest.throttles import ScopedThrottle, TokenAddressThrottle, TokenThrottle

NO_STORE = {"Cache-Control": "no-store"}


class OpenView(ReadsBody, StrictQuery, GenericAPIView):
    """Be a view that asks for no credential and so cannot stumble over a stale one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (ScopedThrottle,)
    pagination_class = None
    filter_backends = ()


class RegisterView(OpenView):
    serializer_class = RegisterSerializer
    also_refuses = ("403", "503")
    throttle_scope = "register"

    @extend_schema(operation_id="auth_register", responses={201: RegisteredSerializer})
    def post(self, request: Request, version: str) -> Response:
        """Ask for a user with a personal account and its welcome hours.

        The answer is the same whether or not the address is taken; what happened stands in the letter to it.
        """
        data = self.body()
        services.register(**data)
        detail = "If this address was free, its account is ready now: log in. A letter is on its way to it."
        return Response({"email": data["email"], "detail": detail}, status=status.HTTP_201_CREATED)


class VerifyEmailView(OpenView):
    """Where the letter's link leads: a page with the key filled in, which a POST takes."""

    serializer_class = EmailKeySerializer
    query_params = ("key",)
    also_refuses = ("503",)
    throttle_scope = "register"

    @extend_schema(exclude=True)
    def get(self, request: Request, version: str) -> Response:
        """Say what to do; following a link changes nothing, since mail scanners follow links too."""
        return Response({"detail": "POST the key of the letter to confirm the address."}, headers=NO_STORE)

    @extend_schema(operation_id="auth_email_verify", responses=RegisteredSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Confirm an address by the key of the letter that went to it.

        With it comes the password that was chosen; who did not choose it sets a `new_password`, which ends whatever was
        set up by the old one.
        """
        email = services.verify_email(request=request._request, now=clock.now(), **self.body())
        return Response({"email": email, "detail": "This address is confirmed."}, headers=NO_STORE)


class LogInView(OpenView):
    serializer_class = LogInSerializer
    also_refuses = ("401", "403", "503")
    throttle_classes = (TokenThrottle, TokenAddressThrottle)

    @extend_schema(operation_id="auth_token", responses=TokenPairSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange address and password for an access and a refresh token; `otp` too where a second factor is set."""
        return Response(_shown(tokens.log_in(request=request._request, **self.body())), headers=NO_STORE)


class RefreshView(OpenView):
    serializer_class = RefreshSerializer
    also_refuses = ("401",)
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_token_refresh", responses=TokenPairSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange a refresh token, once, for a new pair. Using it again ends its log-in."""
        return Response(_shown(tokens.refresh_log_in(token=self.body()["refresh"])), headers=NO_STORE)


class VerifyView(OpenView):
    serializer_class = VerifySerializer
    also_refuses = ("401",)
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_token_verify", responses=VerifiedSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Ask whether a token stands: 200 with its type, or 401."""
        _, token = tokens.live_log_in(token=self.body()["token"], kinds=(AccessToken, RefreshToken))
        return Response({"token_type": token.token_type}, headers=NO_STORE)


class LogOutView(OpenView):
    serializer_class = LogOutSerializer
    also_refuses = ("401",)
    throttle_scope = "refresh"

    @extend_schema(operation_id="auth_logout", responses={204: None})
    def post(self, request: Request, version: str) -> Response:
        """End every log-in of a refresh token's user, or with `everywhere: false` the token's own alone.

        Access tokens and browsers are refused from now on.
        """
        data = self.body()
        tokens.log_out(token=data["refresh"], everywhere=data["everywhere"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class GoogleView(OpenView):
    serializer_class = GoogleSerializer
    also_refuses = ("401", "403", "404", "503")
    throttle_classes = (TokenAddressThrottle,)

    @extend_schema(operation_id="auth_google", responses=TokenPairSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange what Google gave for an access and a refresh token.

        An account here is linked by its confirmed address, or made. With a second factor, send `otp` at once:
        a code is good for one call.
        """
        return Response(_shown(connections.log_in(request=request._request, **self.body())), headers=NO_STORE)


class ResetView(OpenView):
    serializer_class = ResetSerializer
    also_refuses = ("503",)
    throttle_scope = "reset"

    @extend_schema(operation_id="auth_password_reset", responses=DetailSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Ask for a letter with a link that sets a new password; the answer is the same for every address."""
        passwords.ask_reset(now=clock.now(), **self.body())
        return Response({"detail": "If this address has an account, a letter is on its way to it."}, headers=NO_STORE)


class ResetConfirmView(OpenView):
    serializer_class = ResetConfirmSerializer
    also_refuses = ("503",)
    throttle_scope = "reset"

    @extend_schema(operation_id="auth_password_reset_confirm", responses=DetailSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Set a new password by what stands in the letter's link, once. Every log-in of the user ends."""
        passwords.confirm_reset(now=clock.now(), **self.body())
        return Response({"detail": "The password is set; log in with it."}, headers=NO_STORE)


class ChangePasswordView(OpenView):
    """The only one here that asks who calls."""

    serializer_class = ChangePasswordSerializer
    also_refuses = ("503",)
    authentication_classes = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    permission_classes = (IsAuthenticated,)
    throttle_scope = "reset"

    @extend_schema(operation_id="auth_password_change", responses=DetailSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Set a new password by the present one. Every log-in of the user ends, this one too."""
        passwords.change(user=request.user, request=request._request, now=clock.now(), **self.body())
        return Response({"detail": "The password is changed; log in with it."}, headers=NO_STORE)


def _shown(pair: tokens.TokenPair) -> dict[str, str]:
    return {"access": pair.access, "refresh": pair.refresh}
