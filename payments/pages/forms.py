"""What the pages of an account's money ask for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from gaas.lib.pages.board import MovingForm, VerbForm
from gaas.lib.pages.fields import RuledField
from gaas.lib.rest.fields import TextField, UsdField


class TopUpForm(MovingForm):
    """Ask how much to pay in; the hidden key makes one payment of however many clicks."""

    attrs = {"amount_usd": "amount"}

    amount = RuledField(
        UsdField(),
        label="Amount in US dollars",
        max_length=30,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least, most = settings.PAYMENT_MIN_USD, settings.PAYMENT_MAX_USD
        self.fields["amount"].help_text = f"From {least} to {most}."


class CardForm(TopUpForm):
    verb, button = "pay_by_card", "On to the bank's page"


class ChainForm(TopUpForm):
    verb, button = "pay_by_chain", "Show me where to send it"


class TransferForm(TopUpForm):
    verb, button = "pay_by_transfer", "Give me a reference"


class CancelPaymentForm(VerbForm):
    verb, button = "cancel_payment", "Cancel"


class TransactionForm(VerbForm):
    verb, button = "name_transaction", "Look for it"
    attrs = {"tx_hash": "hash"}

    hash = RuledField(
        TextField(max_length=80),
        label="Hash of your transaction",
        max_length=80,
        help_text="0x and 64 digits, as your wallet shows it. It only says where to look: the chain decides.",
    )
