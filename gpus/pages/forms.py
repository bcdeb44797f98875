"""What the pages of hosts ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from rest_framework.exceptions import ValidationError as Refused

from gaas.lib.pages.board import VerbForm
from gaas.lib.pages.fields import RuledField, read
from gaas.lib.rest.fields import TextField, UsdField
from gpus import windows
from gpus.choices import Visibility
from gpus.schedules import ScheduleField, read_line

MOST_PRICE = 10**12


def reason_field(**kwargs: Any) -> RuledField:
    return RuledField(TextField(max_length=200), label="Reason", max_length=200, **kwargs)


class AddHostForm(VerbForm):
    verb, button = "add_host", "Add it"

    name = RuledField(TextField(max_length=100), label="Name", max_length=100, help_text="What you know it by.")
    account = forms.UUIDField(label="Who earns", widget=forms.Select)
    region = RuledField(TextField(max_length=63), label="Region", max_length=63, required=False)


class JoinTokenForm(VerbForm):
    verb, button = "join_token", "Make a join token"


class DrainForm(VerbForm):
    verb, button = "drain", "Drain it"

    reason = reason_field(required=False)


class UndrainForm(VerbForm):
    verb, button = "undrain", "Back to work"


class RevokeForm(VerbForm):
    verb, button = "revoke", "Revoke it for good"

    reason = reason_field()


class MaintenanceForm(VerbForm):
    verb, button = "maintenance", "Announce maintenance"

    begins_at = forms.DateTimeField(
        label="From, UTC",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Left empty: from now on.",
    )
    ends_at = forms.DateTimeField(
        label="Until, UTC",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Back at work by itself then. Left empty: until you say so.",
    )
    reason = reason_field(required=False)

    def clean_begins_at(self) -> datetime | None:
        return _utc(self.cleaned_data["begins_at"])

    def clean_ends_at(self) -> datetime | None:
        return _utc(self.cleaned_data["ends_at"])


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=UTC)


class OfferForm(VerbForm):
    verb, button = "offer", "Set the terms"
    attrs = {"price_per_hour": "price"}

    price = forms.CharField(
        label="US dollars an hour", max_length=30, widget=forms.TextInput(attrs={"inputmode": "decimal"})
    )
    visibility = forms.ChoiceField(label="For", choices=Visibility.choices)
    accepts_quota = forms.BooleanField(
        label="Take tasks that pay with hours", required=False, help_text="You earn nothing from those."
    )

    def clean_price(self) -> int:
        price: int = read(UsdField(allow_zero=True, most=MOST_PRICE), self.cleaned_data["price"])
        return price


class ScheduleForm(VerbForm):
    verb, button = "schedule", "Set the hours"

    windows = forms.CharField(
        label="Open",
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "MON-FRI 18:00-08:00"}),
        help_text="A window a line: MON-FRI 18:00-08:00, or every day 00:00-06:00. Left empty: always open.",
    )
    time_zone = forms.CharField(label="Time zone", max_length=64, initial="UTC", help_text="Such as Europe/Berlin.")
    may_stop = forms.BooleanField(
        label="Let in tasks that may be stopped",
        required=False,
        help_text="They are ended when a window closes, free of charge, and go on elsewhere.",
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        lines = [line for line in data.get("windows", "").splitlines() if line.strip()]
        data["schedule"] = {}
        if lines and not self.errors:
            try:
                told = {
                    "time_zone": data["time_zone"],
                    "windows": [read_line(line) for line in lines],
                    "may_stop": data["may_stop"],
                }
                data["schedule"] = ScheduleField().run_validation(told)
            except ValueError as wrong:
                self.add_error("windows", str(wrong))
            except Refused as refused:
                for name, sentences in refused.detail.items():
                    self.add_error("time_zone" if name == "time_zone" else "windows", [str(one) for one in sentences])
        return data

    @staticmethod
    def initial_of(schedule: dict[str, Any]) -> dict[str, Any]:
        return {
            "windows": "\n".join(windows.in_words(schedule)),
            "time_zone": schedule.get("time_zone", "UTC"),
            "may_stop": schedule.get("may_stop", False),
        }


class ListForm(VerbForm):
    verb, button = "list", "Offer it"


class UnlistForm(VerbForm):
    verb, button = "unlist", "Offer it no more"
