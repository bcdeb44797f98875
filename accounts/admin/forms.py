"""Forms of this app's admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm
from unfold.forms import UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts.choices import CapPeriod
from accounts.models import Account, User
from accounts.services.hours import check_hours
from gaas.lib.amounts import NotExact, hours_to_ms, parse_micro
from gaas.lib.errors import DomainError
from gaas.lib.ids import uuid7


class UserAddForm(UserCreationForm, AdminUserCreationForm):
    """Ask for what log-in by e-mail needs."""

    class Meta:
        model = User
        fields = ("email", "name")


class UserForm(forms.ModelForm):
    """Change a user without ever reading the password's hash."""

    class Meta:
        model = User
        fields = ("email", "name", "is_active", "is_staff", "is_superuser", "groups", "user_permissions")


class AccountForm(forms.ModelForm):
    class Meta:
        model = Account
        fields = ("name", "parent", "pays_from")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        # A new account's place is known to the model's clean() only with its parent on it.
        self.instance.parent = cleaned.get("parent", self.instance.parent)
        return cleaned


class GrantHoursForm(forms.Form):
    """Ask how many hours and why. The hidden key makes a form that is sent twice grant once."""

    hours = forms.CharField(
        max_length=20, widget=UnfoldAdminTextInputWidget(), help_text='GPU-hours, such as "10" or "2.5".'
    )
    reason = forms.CharField(max_length=2000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))
    key = forms.UUIDField(widget=forms.HiddenInput(), initial=uuid7)

    def clean_hours(self) -> int:
        """Give GPU-milliseconds."""
        try:
            gpu_ms = hours_to_ms(parse_micro(self.cleaned_data["hours"]))
            check_hours(gpu_ms)
        except NotExact as problem:
            raise forms.ValidationError(str(problem), code="not_exact") from problem
        except DomainError as problem:
            raise forms.ValidationError(problem.detail, code=problem.code) from problem
        return gpu_ms


class LimitForm(forms.Form):
    """Ask for an amount of hours or of money, which may be 0."""

    asset = forms.ChoiceField(
        label="Of",
        choices=[("GPU", "Hours"), ("USD", "Money, in US dollars")],
        widget=UnfoldAdminSelectWidget(),
    )
    amount = forms.CharField(max_length=20, widget=UnfoldAdminTextInputWidget(), help_text='Such as "10" or "2.5".')

    field_order = ("asset", "amount")

    def clean(self) -> dict[str, Any]:
        """Put GPU-milliseconds or micro-dollars in place of the words."""
        cleaned = super().clean() or {}
        if "amount" in cleaned:
            try:
                micro = parse_micro(cleaned["amount"])
            except NotExact as problem:
                self.add_error("amount", forms.ValidationError(str(problem), code="not_exact"))
            else:
                cleaned["amount"] = hours_to_ms(micro) if cleaned.get("asset") == "GPU" else micro
        return cleaned


class StorageForm(forms.Form):
    """Ask how much an account's files may take; nothing leaves it to the platform's setting."""

    gib = forms.IntegerField(
        label="GiB",
        min_value=0,
        max_value=1024 * 1024,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Nothing: as much as the platform gives to all.",
    )
    reason = forms.CharField(max_length=2000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


class CapForm(LimitForm):
    period = forms.ChoiceField(choices=CapPeriod.choices, initial="month", widget=UnfoldAdminSelectWidget())
