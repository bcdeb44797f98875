"""Calls to allauth's app client under our own rules: read strictly, counted, bounded, answered in our shape."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.base.views import APIView as Flow
from allauth.headless.constants import Client
from django.contrib.sessions.backends.base import UpdateError
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.app_client import flows
from accounts.api.app_client import serializers as bodies
from accounts.api.authentication import KeyAuthentication, TokenAuthentication
from accounts.api.views.auth import NO_STORE, OpenView
from accounts.services import app_log_in, second_factor_changes
from accounts.services.second_factor import OtpRequired, is_app_set
from accounts.services.tokens import CHALLENGE
from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError, NotFound
from gaas.lib.rest.serializers import NoFields
from gaas.lib.rest.throttles import TokenAddressThrottle, TokenThrottle, UserThrottle, address_of, counted_name

FLOW = OpenApiParameter(
    "X-Session-Token", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`session_token` of the flow."
)
PENDING = {401: bodies.AppPendingSerializer}
OVER = {**PENDING, 410: bodies.AppPendingSerializer}


class ReauthenticationRequired(DomainError):
    """State that a password, code or security key is asked for again before a way into an account changes."""

    status = 401
    code = "reauthentication_required"


class NobodyLoggedIn(DomainError):
    """State that no flow is under way, or not this step of it."""

    status = 401
    code = "not_authenticated"


class FlowOver(DomainError):
    """State that the flow of a session token is done, too old or never was."""

    status = 410
    code = "flow_over"


class AppView(OpenView):
    """Lead a call to the view of allauth in `flow`, and its answer back."""

    flow: ClassVar[type[Flow]]
    throttle_classes: Any = (TokenAddressThrottle,)

    def forward(self, serializer_class: Any = None) -> Response:
        """Have allauth do it by a body that was read here, none of which is left to its own reading."""
        request = self.request._request
        request.given = self.body(serializer_class) if self.request.method != "GET" else {}  # type: ignore[attr-defined]
        before = request.user, request.session
        try:
            answer = self.flow.as_api_view(client=Client.APP)(request)
        except ImmediateHttpResponse as immediate:
            answer = immediate.response
        except UpdateError as gone:
            # A parallel call ended the flow while this one was at work; allauth leaves its session on the request.
            request.user, request.session = before
            raise _over() from gone
        said = json.loads(answer.content)  # type: ignore[attr-defined]
        if "is_authenticated" in said.get("meta", {}):
            said["meta"]["is_authenticated"] = bool(said["meta"]["is_authenticated"])  # null for nobody
        if answer.status_code < 400:
            return Response(said, headers=NO_STORE)
        refused: Response = self.handle_exception(refusal_of(answer.status_code, said))
        for name, value in NO_STORE.items():
            refused[name] = value
        refused.data.update({name: said[name] for name in ("status", "data", "meta") if name in said})
        return refused


def refusal_of(status: int, said: dict[str, Any]) -> Exception:
    """Say in our words what allauth refuses."""
    pending = {flow["id"] for flow in said.get("data", {}).get("flows", ()) if flow.get("is_pending")}
    details = said.get("errors", [])
    if status == 410:
        return _over()
    if status == 401 and said.get("meta", {}).get("is_authenticated"):
        return ReauthenticationRequired("Give your password or second factor again first.", headers=CHALLENGE)
    if status == 401 and "mfa_authenticate" in pending:
        return OtpRequired("Give a code or a security key's answer next.", headers=CHALLENGE)
    if status == 401:
        return NobodyLoggedIn("Nobody is logged in here, and no log-in waits for this. Begin one.", headers=CHALLENGE)
    if status == 404:
        return NotFound("This is not set up.")
    if status == 409:
        return Conflict(" ".join(one["message"] for one in details) or "This cannot be done now.")
    refused: dict[str, Any] = {}
    for one in details:
        refused.setdefault(one.get("param", "non_field_errors"), []).append(ErrorDetail(one["message"], "invalid"))
    return ValidationError(refused or {"non_field_errors": [ErrorDetail("This cannot be done.", "invalid")]})


class LogInView(AppView):
    flow = flows.LogIn
    serializer_class = bodies.AppLogInSerializer
    throttle_classes = (TokenThrottle, TokenAddressThrottle)
    also_refuses = ("403", "410", "503")

    @extend_schema(operation_id="auth_app_login", responses={200: bodies.AppLoggedInSerializer, **PENDING})
    def post(self, request: Request, version: str) -> Response:
        """Begin a log-in; without a second factor it ends here, with the pair of tokens.

        401 `otp_required` has the `session_token` of the flow and which second factors there are.
        """
        request._request.log_in_is_counted = True  # type: ignore[attr-defined]
        return self.forward()


class SessionView(AppView):
    sets_up_second_factors = True  # who asks here learns whether one is set
    flow = flows.Session
    serializer_class = NoFields

    def get_authenticators(self) -> list[Any]:
        # An access token says who asks; so does nobody, and the token of a flow.
        return [TokenAuthentication()]

    @extend_schema(
        operation_id="auth_app_session",
        parameters=[FLOW],
        responses={200: bodies.AppLoggedInSerializer, **OVER},
    )
    def get(self, request: Request, version: str) -> Response:
        """Tell who is logged in, or which step a flow waits for."""
        _prove(request)
        return self.forward()


class CodeView(AppView):
    flow = flows.Code
    serializer_class = bodies.AppCodeSerializer
    also_refuses = ("403", "503")

    @extend_schema(
        operation_id="auth_app_2fa", parameters=[FLOW], responses={200: bodies.AppLoggedInSerializer, **OVER}
    )
    def post(self, request: Request, version: str) -> Response:
        """End a log-in by a code of the authenticator app, or a recovery code."""
        return self.forward()


class KeyView(AppView):
    flow = flows.Key
    serializer_class = bodies.AppCredentialSerializer
    also_refuses = ("403", "503")

    @extend_schema(
        operation_id="auth_app_webauthn_begin", parameters=[FLOW], responses={200: bodies.AppAnswerSerializer, **OVER}
    )
    def get(self, request: Request, version: str) -> Response:
        """Give what a security key is to sign, in `data.request_options`."""
        return self.forward()

    @extend_schema(
        operation_id="auth_app_webauthn", parameters=[FLOW], responses={200: bodies.AppLoggedInSerializer, **OVER}
    )
    def post(self, request: Request, version: str) -> Response:
        """End a log-in by a security key's answer."""
        return self.forward()


class RefreshView(AppView):
    flow = flows.Refresh
    serializer_class = bodies.AppRefreshSerializer
    throttle_scope = "refresh"
    throttle_classes = OpenView.throttle_classes
    also_refuses = ("401", "410")

    @extend_schema(operation_id="auth_app_refresh", responses=bodies.AppRefreshedSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Exchange a refresh token, once, for a new pair, as auth/token/refresh does."""
        return self.forward()


class OwnThrottle(TokenThrottle):
    """Count guesses at one's own password with the log-ins to the account."""

    def identity(self, request: Request, view: Any) -> str | None:
        return f"{address_of(request)} {counted_name(getattr(request.user, 'email', ''))}"


class OwnView(AppView):
    """Be for whoever an access token belongs to; no key, and no browser's session."""

    sets_up_second_factors = True
    authentication_classes = (KeyAuthentication, TokenAuthentication)
    permission_classes = (IsAuthenticated,)
    throttle_classes = (UserThrottle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _prove(request)

    def forward(self, serializer_class: Any = None) -> Response:
        """Change second factors in one transaction with what is recorded of it."""
        if self.request.method == "GET" or isinstance(self, AgainView):
            return super().forward(serializer_class)
        with second_factor_changes.changing(user=self.request.user, now=clock.now()):
            return super().forward(serializer_class)


class AgainView(OwnView):
    """Take a proof once more; what guesses wrong is counted, so nothing is rolled back."""

    throttle_classes = (OwnThrottle, TokenAddressThrottle)
    also_refuses = ("503",)


class PasswordAgainView(AgainView):
    flow = flows.PasswordAgain
    serializer_class = bodies.AppPasswordSerializer

    @extend_schema(operation_id="auth_app_reauthenticate", responses=bodies.AppLoggedInSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Give the password again, which is asked for before a second factor changes."""
        request._request.log_in_is_counted = True  # type: ignore[attr-defined]
        return self.forward()


class CodeAgainView(AgainView):
    flow = flows.CodeAgain
    serializer_class = bodies.AppCodeSerializer
    throttle_classes = (TokenAddressThrottle,)

    @extend_schema(operation_id="auth_app_2fa_reauthenticate", responses=bodies.AppLoggedInSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Give a code in place of the password."""
        return self.forward()


class KeyAgainView(AgainView):
    flow = flows.KeyAgain
    serializer_class = bodies.AppCredentialSerializer

    @extend_schema(operation_id="auth_app_webauthn_reauthenticate_begin", responses=bodies.AppAnswerSerializer)
    def get(self, request: Request, version: str) -> Response:
        """Give what a security key is to sign, in `data.request_options`."""
        return self.forward()

    @extend_schema(operation_id="auth_app_webauthn_reauthenticate", responses=bodies.AppLoggedInSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Give a security key's answer in place of the password."""
        return self.forward()


class AuthenticatorsView(OwnView):
    flow = flows.Authenticators
    serializer_class = NoFields

    @extend_schema(operation_id="auth_app_authenticators", responses=bodies.AppListSerializer)
    def get(self, request: Request, version: str) -> Response:
        """List the caller's second factors."""
        return self.forward()


class AppCodesView(OwnView):
    """The authenticator app."""

    flow = flows.App
    serializer_class = bodies.AppCodeSerializer
    also_refuses = ("404",)

    @extend_schema(
        operation_id="auth_app_totp", responses={200: bodies.AppAnswerSerializer, 404: bodies.AppAbsentSerializer}
    )
    def get(self, request: Request, version: str) -> Response:
        """Show the authenticator app; where there is none, the 404 has `meta.secret` to set one up with."""
        if not is_app_set(request.user):
            second_factor_changes.check_may_add(request.user)
        return self.forward()

    @extend_schema(operation_id="auth_app_totp_activate", responses=bodies.AppAnswerSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Set the app up by the first code that it shows."""
        second_factor_changes.check_may_add(request.user)
        return self.forward()

    @extend_schema(operation_id="auth_app_totp_deactivate", responses={200: bodies.AppAnswerSerializer})
    def delete(self, request: Request, version: str) -> Response:
        """Take the app off."""
        return self.forward(NoFields)


class RecoveryCodesView(OwnView):
    flow = flows.RecoveryCodes
    serializer_class = NoFields
    also_refuses = ("404",)

    @extend_schema(operation_id="auth_app_recovery_codes", responses=bodies.AppAnswerSerializer)
    def get(self, request: Request, version: str) -> Response:
        """Show the recovery codes that are left."""
        return self.forward()

    @extend_schema(operation_id="auth_app_recovery_codes_renew", request=NoFields, responses=bodies.AppAnswerSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Make new recovery codes; the old ones are void."""
        return self.forward()


class KeysView(OwnView):
    """Security keys."""

    flow = flows.Keys
    serializer_class = bodies.AppKeyAddSerializer

    def get_object(self) -> Any:
        """Have none: the body names the key, and OPTIONS asks."""
        raise Http404

    @extend_schema(operation_id="auth_app_keys_begin", responses=bodies.AppAnswerSerializer)
    def get(self, request: Request, version: str) -> Response:
        """Give what a new security key is to sign, in `data.creation_options`."""
        second_factor_changes.check_may_add(request.user)
        return self.forward()

    @extend_schema(operation_id="auth_app_keys_add", responses=bodies.AppAnswerSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Add a security key; with the first second factor come recovery codes."""
        second_factor_changes.check_may_add(request.user)
        return self.forward()

    @extend_schema(
        operation_id="auth_app_keys_rename",
        request=bodies.AppKeyRenameSerializer,
        responses=bodies.AppAnswerSerializer,
    )
    def put(self, request: Request, version: str) -> Response:
        """Rename a security key."""
        return self.forward(bodies.AppKeyRenameSerializer)

    @extend_schema(
        operation_id="auth_app_keys_remove",
        request=bodies.AppKeysRemoveSerializer,
        responses={200: bodies.AppAnswerSerializer},
    )
    def delete(self, request: Request, version: str) -> Response:
        """Take security keys off."""
        return self.forward(bodies.AppKeysRemoveSerializer)


def _over() -> FlowOver:
    return FlowOver("This log-in is done, too old or not ours. Begin anew, with the password.", headers=CHALLENGE)


def _prove(request: Request) -> None:
    if request.auth is not None:
        app_log_in.prove(request=request._request, sid=str(request.auth["sid"]), user=request.user)
