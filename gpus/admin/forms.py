"""Forms of this app's admin."""

from __future__ import annotations

from typing import Any

from django import forms
from rest_framework.exceptions import ValidationError as Refused
from unfold.widgets import UnfoldAdminTextInputWidget

from gaas.lib.amounts import NotExact, parse_micro, show_micro
from gaas.lib.reasons import OptionalReasonForm
from gaas.lib.rest.fields import LabelsField
from gpus.models import GPU, Host
from gpus.schedules import ScheduleField


class LabelsMixin:
    """Hold labels to what the API takes: a flat object of short texts."""

    cleaned_data: dict[str, Any]
    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "labels" in self.fields:  # not for who may only look
            self.fields["labels"].widget.attrs["rows"] = 3
            self.fields["labels"].help_text = 'An object of short texts that tasks can ask for: {"room": "b2"}.'

    def clean_labels(self) -> dict[str, str]:
        try:
            labels = self.cleaned_data["labels"]
            return LabelsField().run_validation({} if labels is None else labels)
        except Refused as refused:
            raise forms.ValidationError(_sentences(refused.detail)) from refused


class HostForm(LabelsMixin, forms.ModelForm):
    class Meta:
        model = Host
        fields = ("name", "region", "labels")


class NewHostForm(HostForm):
    class Meta(HostForm.Meta):
        fields = ("account", *HostForm.Meta.fields)


class GPUForm(LabelsMixin, forms.ModelForm):
    """Ask for the terms, the price in dollars."""

    price_usd = forms.CharField(
        label="Price per hour, USD",
        widget=UnfoldAdminTextInputWidget,
        help_text="A decimal of at most six places: 2.50",
    )

    class Meta:
        model = GPU
        fields = ("visibility", "accepts_quota", "labels", "schedule")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["price_usd"].initial = show_micro(self.instance.price_per_hour)
        if "schedule" in self.fields:
            self.fields["schedule"].required = False
            self.fields["schedule"].widget.attrs["rows"] = 4
            self.fields["schedule"].help_text = (
                '{} is always open. Else {"time_zone": "Europe/Berlin", "windows": [{"days": ["MON"], "from": "18:00",'
                ' "until": "08:00"}], "may_stop": false}.'
            )

    def clean_schedule(self) -> dict[str, Any]:
        try:
            return ScheduleField().run_validation(self.cleaned_data["schedule"] or {})
        except Refused as refused:
            raise forms.ValidationError(_sentences(refused.detail)) from refused

    def clean_price_usd(self) -> int:
        try:
            return parse_micro(self.cleaned_data["price_usd"])
        except NotExact as error:
            raise forms.ValidationError(str(error)) from error


class MaintenanceForm(OptionalReasonForm):
    """Ask from when and until when, in UTC."""

    begins_at = forms.DateTimeField(
        required=False,
        label="From, UTC",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-06-01 22:00"}),
        help_text="Left empty: from now on.",
    )
    ends_at = forms.DateTimeField(
        required=False,
        label="Until, UTC",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-06-02 06:00"}),
        help_text="Back at work by itself then. Left empty: until somebody says so.",
    )


def _sentences(detail: Any) -> list[str]:
    if isinstance(detail, dict):
        return [f"{key}: {sentence}" for key, value in detail.items() for sentence in _sentences(value)]
    return [str(item) for item in detail]
