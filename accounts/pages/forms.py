"""What the pages ask for."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, ReauthenticateWebAuthnForm
from django import forms
from django.core.exceptions import ValidationError

from accounts.credentials import AnyCredential
from accounts.services import second_factor
from gaas.lib.emails import check_email

LONGEST_PASSWORD = 256


def email_field(**attrs: Any) -> forms.EmailField:
    return forms.EmailField(
        label="E-mail address",
        max_length=254,
        validators=[check_email],
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True, **attrs}),
    )


def password_field(label: str, *, autocomplete: str, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=LONGEST_PASSWORD,
        strip=False,
        help_text=help_text,
        widget=forms.PasswordInput(attrs={"autocomplete": autocomplete}),
    )


def revoke_keys_field() -> forms.BooleanField:
    return forms.BooleanField(
        label="Revoke my API keys, too",
        required=False,
        help_text="They go on working otherwise. Tick this if somebody may have got at your account.",
    )


STRONG = "At least 8 characters, none of the common ones and not digits alone."


class LogInForm(LoginForm):
    """Ask for address and password under the names that password managers know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"] = email_field()
        # A superuser's may be longer: they are made on a command line.
        self.fields["password"] = password_field("Password", autocomplete="current-password")
        self.fields["password"].max_length = None
        self.fields["password"].widget.attrs["maxlength"] = 4096

    def add_prefix(self, field_name: str) -> str:
        return super().add_prefix("username" if field_name == "login" else field_name)


class SignUpForm(forms.Form):
    invitation = forms.CharField(max_length=200, required=False, widget=forms.HiddenInput)
    name = forms.CharField(
        label="Name", max_length=150, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    email = email_field(autofocus=False)
    password = password_field("Password", autocomplete="new-password", help_text=STRONG)


class EmailForm(forms.Form):
    email = email_field()


class KeyForm(forms.Form):
    key = forms.CharField(max_length=1000, widget=forms.HiddenInput)


class ProveForm(KeyForm):
    """Tell who registered from who only reads the mail."""

    password = password_field("Password", autocomplete="current-password", help_text="If you registered here.")
    new_password = password_field(
        "Or a new password", autocomplete="new-password", help_text=f"If you did not, or do not know it. {STRONG}"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("password", "new_password"):
            self.fields[name].required = False


class ResetForm(forms.Form):
    uid = forms.CharField(max_length=64, widget=forms.HiddenInput)
    token = forms.CharField(max_length=128, widget=forms.HiddenInput)
    new_password = password_field("New password", autocomplete="new-password", help_text=STRONG)
    revoke_keys = revoke_keys_field()


class ChangeForm(forms.Form):
    current_password = password_field("Present password", autocomplete="current-password")
    new_password = password_field("New password", autocomplete="new-password", help_text=STRONG)
    revoke_keys = revoke_keys_field()


class _OneCode(forms.Form):
    """Check a code the way the API does, its lock-out included."""

    authenticator: Authenticator
    user: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs["autofocus"] = True

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        try:
            self.authenticator = second_factor.check_code(user=self.user, code=code, request=context.request)
        except second_factor.OtpInvalid as wrong:
            raise ValidationError(wrong.detail) from wrong
        self.authenticator.user = self.user
        return code


class CodeForm(_OneCode, AuthenticateForm):
    """Ask for the code of a second factor while logging in."""


class CodeAgainForm(_OneCode, ReauthenticateForm):
    """Ask for it again before something delicate."""


class AddKeyForm(AnyCredential, AddWebAuthnForm):
    """Ask for the name of a security key, and for the key."""

    name = forms.CharField(label="Name", max_length=100, required=False)


class KeyFactorForm(AnyCredential, AuthenticateWebAuthnForm):
    """Ask for a security key while logging in."""


class KeyAgainForm(AnyCredential, ReauthenticateWebAuthnForm):
    """Ask for it again before something delicate."""
