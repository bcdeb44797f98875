"""The views of allauth's app client that are mounted, reading what our own views have read and bounded."""

from __future__ import annotations

from typing import Any

from allauth.account.internal import flows
from allauth.core import context
from allauth.headless.account import views as account
from allauth.headless.account.inputs import ReauthenticateInput
from allauth.headless.mfa import inputs
from allauth.headless.mfa import views as mfa
from allauth.headless.tokens import views as tokens
from django import forms
from django.http import HttpRequest

from accounts.credentials import AnyCredential
from accounts.services import lockout, second_factor
from accounts.services.passwords import WrongPassword
from gaas.lib.rest.throttles import count_call, counted_name


class Given:
    """Take the body that our own parser and serializer let through; without one, what a body says of nothing."""

    def _parse_json(self, request: HttpRequest) -> dict[str, Any]:
        given: dict[str, Any] = getattr(request, "given", {})
        return given


class _OneCode(forms.Form):
    """Check a code as auth/token does: counted, locked out, good once."""

    user: Any

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        request = context.request
        count_call("token", meta=request.META, name=counted_name(self.user.email))
        try:
            self.authenticator = second_factor.check_code(user=self.user, code=code, request=request)
        except second_factor.OtpInvalid as wrong:
            wrong.attr = "code"
            raise
        self.authenticator.user = self.user
        return code


class _OneKey(AnyCredential):
    """Look at a security key's answer only while the account is not locked."""

    user: Any

    def _clean_fields(self) -> None:
        lockout.check(email=self.user.email, request=context.request)
        super()._clean_fields()


class CodeInput(_OneCode, inputs.AuthenticateInput):
    pass


class CodeAgainInput(_OneCode, inputs.ReauthenticateInput):
    pass


class KeyInput(_OneKey, inputs.AuthenticateWebAuthnInput):
    pass


class KeyAgainInput(_OneKey, inputs.ReauthenticateWebAuthnInput):
    pass


class AddKeyInput(AnyCredential, inputs.AddWebAuthnInput):
    pass


class PasswordAgainInput(ReauthenticateInput):
    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not flows.reauthentication.get_adapter().reauthenticate(self.user, password):
            raise WrongPassword("This is not your present password.", attr="password")
        return password


class LogIn(Given, account.LoginView):
    pass


class Session(Given, account.SessionView):
    pass


class Code(Given, mfa.AuthenticateView):
    input_class = CodeInput


class Key(Given, mfa.AuthenticateWebAuthnView):
    input_class = {"POST": KeyInput}


class PasswordAgain(Given, account.ReauthenticateView):
    input_class = PasswordAgainInput


class CodeAgain(Given, mfa.ReauthenticateView):
    input_class = CodeAgainInput


class KeyAgain(Given, mfa.ReauthenticateWebAuthnView):
    input_class = {"POST": KeyAgainInput}


class Authenticators(Given, mfa.AuthenticatorsView):
    pass


class App(Given, mfa.ManageTOTPView):
    pass


class RecoveryCodes(Given, mfa.ManageRecoveryCodesView):
    pass


class Keys(Given, mfa.ManageWebAuthnView):
    input_class = {**mfa.ManageWebAuthnView.input_class, "POST": AddKeyInput}


class Refresh(Given, tokens.RefreshTokenView):
    pass
