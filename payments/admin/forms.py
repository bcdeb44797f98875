"""Forms of this app's admin."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from gaas.lib import clock
from gaas.lib.amounts import NotExact, parse_micro
from gaas.lib.errors import DomainError
from payments import services
from payments.choices import ReviewOutcome
from payments.models import Payment

USD_HELP = 'US dollars, such as "100" or "12.50".'


class UsdInput(forms.CharField):
    """Take dollars as a plain decimal and give micro-dollars."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {"max_length": 20, "widget": UnfoldAdminTextInputWidget(), "help_text": USD_HELP} | kwargs
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            micro = parse_micro(text)
        except NotExact as problem:
            raise forms.ValidationError(str(problem), code="not_exact") from problem
        if micro <= 0:
            raise forms.ValidationError("Give an amount above 0.", code="min_value")
        return micro


class CameInForm(forms.Form):
    """Ask what the statement shows."""

    amount = UsdInput(label="Amount that came in")
    method = forms.CharField(
        max_length=40,
        initial="bank transfer",
        widget=UnfoldAdminTextInputWidget(),
        help_text='How it came: "bank transfer", "cash", "internal booking".',
    )
    reference = forms.CharField(
        max_length=140,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What the statement or receipt calls it. Each can be booked once.",
    )


class RecordForm(forms.ModelForm):
    """Record money for an account. The verb runs in `clean`, so that its refusal stands at the field it is about."""

    amount = CameInForm.base_fields["amount"]
    method = CameInForm.base_fields["method"]
    reference = CameInForm.base_fields["reference"]
    reason = forms.CharField(
        max_length=2000, required=False, label="Note", widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )

    class Meta:
        model = Payment
        fields = ("account", "amount", "method", "reference")

    by: Any = None  # set by the admin for each request

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.recorded = services.record_payment(
                    account=cleaned["account"],
                    amount=cleaned["amount"],
                    method=cleaned["method"],
                    reference=cleaned["reference"],
                    reason=cleaned["reason"],
                    by=self.by,
                    now=clock.now(),
                )
            except DomainError as refusal:
                field = {"amount_usd": "amount"}.get(refusal.attr or "", refusal.attr)
                self.add_error(
                    field if field in self.fields else None, forms.ValidationError(refusal.detail, code=refusal.code)
                )
        return cleaned

    def save(self, commit: bool = True) -> Payment:
        """Give the payment that the verb stored."""
        self.save_m2m = lambda: None
        return self.recorded

    def _post_clean(self) -> None:
        """Leave out what would check a row that the verb has stored already."""


class RefundForm(forms.Form):
    amount = UsdInput(required=False, help_text="Empty for all that can be sent back.")
    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Required: kept in the record and shown to the payer.",
    )


class ReferenceForm(forms.Form):
    reference = forms.CharField(
        max_length=140, widget=UnfoldAdminTextInputWidget(), help_text="Under which the money went back."
    )


class SentForm(forms.Form):
    reference = forms.CharField(
        max_length=140,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Under which the money went out; on a chain the transaction's hash. Each can be noted once.",
    )


class CameBackForm(forms.Form):
    amount = UsdInput(label="Amount that came back")
    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Required: why it came back. The owner will read it.",
    )


class SettleForm(forms.Form):
    went = forms.ChoiceField(
        label="How it went",
        choices=[("", "---------"), ("sent", "It was sent as agreed"), ("not_sent", "It was not sent")],
        widget=UnfoldAdminSelectWidget(),
        help_text="Look at the provider first: what was not sent is the owner's again at once.",
    )
    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Required: what the provider shows. The owner will read it.",
    )


class ResolveForm(forms.Form):
    outcome = forms.ChoiceField(choices=ReviewOutcome.choices, widget=UnfoldAdminSelectWidget())
    resolution = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Required: what was found and done.",
    )
