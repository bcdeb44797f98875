"""What the pages of webhooks ask for."""

from __future__ import annotations

from datetime import timedelta

from django import forms

from accounts.pages.key_forms import OVERLAPS
from gaas.lib.pages.board import VerbForm
from gaas.lib.pages.fields import RuledField
from gaas.lib.rest.fields import TextField
from gaas.outbox.choices import EventType


class WebhookForm(VerbForm):
    url = RuledField(
        TextField(max_length=2000),
        label="Address",
        max_length=2000,
        help_text="It begins with https:// and can be reached from the internet.",
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "off"}),
    )
    events = forms.MultipleChoiceField(
        label="What it is told of",
        choices=[(event.value, f"{event.value}: {event.label}") for event in EventType],
        widget=forms.CheckboxSelectMultiple,
    )
    includes_children = forms.TypedChoiceField(
        label="Of which accounts",
        choices={"one": "Of this one", "below": "Of this one and all below it"},
        coerce=lambda which: which == "below",
    )


class CreateWebhookForm(WebhookForm):
    verb, button = "create_webhook", "Make the webhook"


class ChangeWebhookForm(WebhookForm):
    verb, button = "change_webhook", "Change it"


class RotateSecretForm(VerbForm):
    verb, button = "rotate_secret", "Make a new secret"

    overlap = forms.TypedChoiceField(
        label="The old one signs besides",
        choices=OVERLAPS,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
    )


class TryWebhookForm(VerbForm):
    verb, button = "try_webhook", "Send a trial"


class SwitchOnForm(VerbForm):
    verb, button = "switch_on", "Switch it on"


class SwitchOffForm(VerbForm):
    verb, button = "switch_off", "Switch it off"


class DeleteWebhookForm(VerbForm):
    verb, button = "delete_webhook", "Remove it for good"


class RedeliverForm(VerbForm):
    verb, button = "redeliver", "Send it again"
