"""Forms of this app's admin."""

from __future__ import annotations

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from gaas.lib.amounts import NotExact, hours_to_ms, parse_micro
from gaas.lib.reasons import OptionalReasonForm


class ApproveForm(OptionalReasonForm):
    """Ask with which hours and priority; left empty, it is as it was asked for."""

    field_order = ("hours", "priority", "reason")

    hours = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Fewer hours than asked for; the rest of the hold goes back. Empty: as asked.",
    )
    priority = forms.IntegerField(
        required=False,
        min_value=-100,
        max_value=100,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Higher goes first, from -100 to 100. Empty: as asked.",
    )

    def clean_hours(self) -> int | None:
        text = self.cleaned_data["hours"].strip()
        if not text:
            return None
        try:
            return hours_to_ms(parse_micro(text))
        except NotExact as problem:
            raise forms.ValidationError(str(problem)) from problem
