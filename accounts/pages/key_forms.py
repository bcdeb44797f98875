"""What the page of API keys asks for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms

from accounts.choices import CapPeriod, Scope
from accounts.pages.family_forms import PERIODS
from gaas.lib import clock
from gaas.lib.pages.board import VerbForm
from gaas.lib.pages.fields import LinesField, RuledField, amount_field, read
from gaas.lib.rest.fields import HoursField, NetworkField, TextField, UsdField

MAX_NETWORKS = 50
OVERLAPS = {86_400: "For a day still", 3_600: "For an hour still", 604_800: "For a week still", 0: "No more"}


class CreateKeyForm(VerbForm):
    verb, button = "create_key", "Make the key"
    attrs = {"cap_hours": "cap_gpu_ms", "cap_usd": "cap_microusd"}

    name = RuledField(
        TextField(max_length=100), label="Name", max_length=100, help_text="What it is for, to know it by."
    )
    scopes = forms.MultipleChoiceField(
        label="What it may be used for",
        choices=[(scope.value, f"{scope.value}: {scope.label}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
    )
    account = forms.UUIDField(
        label="Only in this account and below",
        required=False,
        widget=forms.Select,
        help_text="Otherwise it acts wherever you may.",
    )
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="It ends at midnight UTC.",
    )
    allow_list = LinesField(
        NetworkField(), label="Only from these addresses", required=False, help_text="An address or network a line."
    )
    cap_gpu_ms = amount_field("Most GPU-hours", required=False)
    cap_microusd = amount_field("Most US dollars", required=False)
    cap_period = forms.ChoiceField(
        label="That much", choices=PERIODS, initial=CapPeriod.MONTH, help_text="For the two amounts above."
    )

    def clean_cap_gpu_ms(self) -> int | None:
        return _limit(HoursField(allow_zero=True), self.cleaned_data["cap_gpu_ms"])

    def clean_cap_microusd(self) -> int | None:
        return _limit(UsdField(allow_zero=True), self.cleaned_data["cap_microusd"])

    def clean_allow_list(self) -> list[str]:
        networks: list[str] = self.cleaned_data["allow_list"]
        if len(networks) > MAX_NETWORKS:
            raise forms.ValidationError(f"Give at most {MAX_NETWORKS} lines.")
        return networks

    def clean_expires_on(self) -> date | None:
        day: date | None = self.cleaned_data["expires_on"]
        if day is not None and not clock.now().date() <= day < date(9999, 1, 1):
            raise forms.ValidationError("Give a day that is not over.")
        return day

    @property
    def expires_at(self) -> datetime | None:
        day = self.cleaned_data["expires_on"]
        return None if day is None else datetime.combine(day + timedelta(days=1), time(), UTC)


class RotateKeyForm(VerbForm):
    verb, button = "rotate_key", "Make its successor"

    overlap = forms.TypedChoiceField(
        label="The old one is good",
        choices=OVERLAPS,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
    )


class RevokeKeyForm(VerbForm):
    verb, button = "revoke_key", "Revoke it for good"

    reason = RuledField(TextField(max_length=200), label="Reason", max_length=200, required=False)


def _limit(rule: Any, text: str) -> int | None:
    return read(rule, text) if text else None
