"""What the pages of contracts ask for."""

from __future__ import annotations

from typing import Any

from django import forms

from gaas.lib.pages.board import MovingForm, VerbForm
from gaas.lib.pages.fields import ASSETS, RuledField, amount_field, read_amount
from gaas.lib.rest.fields import HoursField, TextField, UsdField
from payments import services
from payments.choices import CatchUp, Interval, Renewal, RollOver, Shortfall

DAY = {"type": "date"}
DECIMAL = {"inputmode": "decimal", "autocomplete": "off"}
MOST = {"GPU": services.MOST, "USD": services.MOST}


class _WhenForm(MovingForm):
    """Ask with whom, when, and what happens at the turn of a period; the hidden key makes one of many clicks."""

    payee = forms.UUIDField(label="With", widget=forms.Select)
    title = RuledField(TextField(max_length=120), label="Title", max_length=120)
    interval = forms.ChoiceField(label="Every", choices=Interval.choices, initial=Interval.MONTH)
    starts_on = forms.DateField(label="Starts on", widget=forms.DateInput(attrs=DAY), required=False)
    ends_on = forms.DateField(label="No period begins on or after", widget=forms.DateInput(attrs=DAY), required=False)
    time_zone = forms.CharField(label="Time zone", max_length=64, initial="UTC", help_text="Such as Europe/Berlin.")
    shortfall = forms.ChoiceField(label="A period that cannot be paid", choices=Shortfall.choices)
    catch_up = forms.ChoiceField(label="Periods that fall into a pause", choices=CatchUp.choices)
    renewal = forms.ChoiceField(label="At its end", choices=Renewal.choices)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["starts_on"].help_text = "Empty: today. Its day of the month is that of all periods."


class AllowanceForm(_WhenForm):
    verb, button = "offer_allowance", "Propose it"
    attrs = {"hours": "amount", "amount_usd": "amount"}

    asset = forms.ChoiceField(label="Of", choices=ASSETS.items())
    amount = amount_field("Each period")
    roll_over = forms.ChoiceField(label="What is not used", choices=RollOver.choices)
    field_order = ("payee", "title", "asset", "amount", "interval", "starts_on", "ends_on", "time_zone", "roll_over")

    def clean(self) -> dict[str, Any]:
        super().clean()
        read_amount(self, allow_zero=False, most=MOST)
        return self.cleaned_data


class ReservationForm(_WhenForm):
    verb, button = "reserve", "Propose it"
    attrs = {"price_usd": "price"}

    hours = RuledField(
        HoursField(most=services.MOST),
        label="GPU-hours each period",
        max_length=30,
        widget=forms.TextInput(attrs=DECIMAL),
    )
    price = RuledField(
        UsdField(most=services.MOST),
        label="Price each period in US dollars",
        max_length=30,
        widget=forms.TextInput(attrs=DECIMAL),
    )
    gpu_model = RuledField(TextField(max_length=100), label="GPU model", max_length=100, required=False)
    roll_over = forms.ChoiceField(
        label="What is not used", choices=[(RollOver.KEEP, "Carried over"), (RollOver.EXPIRE, "Lapses")]
    )
    field_order = ("payee", "title", "hours", "price", "gpu_model", "interval", "starts_on", "ends_on", "time_zone")


class ChangeForm(VerbForm):
    """Propose another amount, price or end; everything else stays as it is."""

    verb, button = "change_terms", "Propose the change"
    attrs = {"hours": "amount", "amount_usd": "amount", "price_usd": "price"}

    amount = amount_field("Each period")
    price = RuledField(
        UsdField(most=services.MOST),
        label="Price each period in US dollars",
        max_length=30,
        required=False,
        widget=forms.TextInput(attrs=DECIMAL),
    )
    ends_on = forms.DateField(label="No period begins on or after", widget=forms.DateInput(attrs=DAY), required=False)


class AcceptForm(VerbForm):
    verb, button = "accept_terms", "Accept these terms"
    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=10**6)


class _ReasonForm(VerbForm):
    reason = forms.CharField(label="Reason", max_length=2000, required=False)


class DeclineForm(_ReasonForm):
    verb, button = "decline_terms", "Decline"


class PauseForm(_ReasonForm):
    verb, button = "pause_contract", "Pause"


class ResumeForm(VerbForm):
    verb, button = "resume_contract", "Resume"


class CancelForm(_ReasonForm):
    verb, button = "cancel_contract", "Cancel at the period's end"
