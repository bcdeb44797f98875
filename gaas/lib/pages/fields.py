"""Fields that take what the API's take, by the very same rules."""

from __future__ import annotations

from typing import Any

from django import forms
from rest_framework import serializers

from gaas.lib.rest.fields import HoursField, UsdField

ASSETS = {"GPU": "GPU-hours", "USD": "US dollars"}


class RuledField(forms.CharField):
    """Read one text by the rule of a field of the API; nothing typed is None."""

    def __init__(self, rule: serializers.Field, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rule = rule

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return read(self.rule, text) if text else None


class LinesField(RuledField):
    """Read each line by the rule."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> list[Any]:
        text = forms.CharField.clean(self, value)
        return [read(self.rule, line.strip()) for line in text.splitlines() if line.strip()]


def read(rule: serializers.Field, text: str) -> Any:
    """Give what a rule of the API makes of a text. Raises Django's ValidationError with the rule's sentence."""
    try:
        return rule.run_validation(text)
    except serializers.ValidationError as wrong:
        raise forms.ValidationError([str(sentence) for sentence in wrong.detail]) from wrong


def amount_field(label: str = "Amount", **kwargs: Any) -> forms.CharField:
    """Ask for a decimal, which is read once its unit is known."""
    attrs = {"inputmode": "decimal", "autocomplete": "off"}
    return forms.CharField(label=label, max_length=30, widget=forms.TextInput(attrs=attrs), **kwargs)


def read_amount(form: forms.Form, *, allow_zero: bool, most: dict[str, int]) -> None:
    """Replace a form's `amount` by the integer that its `asset` makes of it, or note what is wrong."""
    asset, amount = form.cleaned_data.get("asset"), form.cleaned_data.get("amount")
    if asset and amount:
        kind = HoursField if asset == "GPU" else UsdField
        try:
            form.cleaned_data["amount"] = read(kind(allow_zero=allow_zero, most=most[asset]), amount)
        except forms.ValidationError as wrong:
            form.add_error("amount", wrong)
