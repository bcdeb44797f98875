"""What the page of an account's earnings asks for."""

from __future__ import annotations

from django import forms
from django.conf import settings

from gaas.lib.pages.board import MovingForm, VerbForm
from gaas.lib.pages.fields import RuledField
from gaas.lib.rest.fields import TextField, UsdField
from payments.choices import Provider


class AskPayoutForm(MovingForm):
    """Ask how much and where to; the hidden key makes one payout of however many clicks."""

    verb, button = "ask_payout", "Ask for it"
    attrs = {"amount_usd": "amount"}

    amount = RuledField(
        UsdField(),
        label="Amount in US dollars",
        max_length=30,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    destination = forms.UUIDField(label="To", widget=forms.Select)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].help_text = f"At least {settings.PAYOUT_MIN_USD}."


class CancelPayoutForm(VerbForm):
    verb, button = "cancel_payout", "Take it back"


class AddDestinationForm(VerbForm):
    verb, button = "add_destination", "Keep it"

    kind = forms.ChoiceField(label="What it is", choices=Provider.choices)
    detail = RuledField(
        TextField(max_length=140),
        label="Where",
        max_length=140,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="An IBAN and whose it is; an account at Stripe (acct_…); an address (0x…) copied with its capitals.",
    )
    label = RuledField(TextField(max_length=60), label="What you call it", max_length=60, required=False)
    replaces = forms.UUIDField(
        label="In place of",
        widget=forms.Select,
        required=False,
        help_text="That one goes out of use at once.",
    )

    def clean_label(self) -> str:
        return self.cleaned_data["label"] or ""


class RetireDestinationForm(VerbForm):
    verb, button = "retire_destination", "Retire"
