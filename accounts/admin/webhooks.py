from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts.services import webhooks
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.reasons import ReasonForm, verb_action
from gaas.outbox.models import Webhook, WebhookDelivery


@admin.register(Webhook)
class WebhookAdmin(ViewOnlyAdmin):
    """Show who is told of what, switch one off and on again. Nobody sees a secret; managers do the rest."""

    list_display = ("account", "leads_to", "listens_to", "is_active", "failing_since", "failures", "served_at")
    list_select_related = ("account",)
    list_filter = ("is_active", ("failing_since", admin.EmptyFieldListFilter))
    search_fields = ("url__startswith", "account__id__exact")
    search_help_text = "How the address begins, or an id."
    fields = (
        "account",
        "url",
        "listens_to",
        "includes_children",
        "is_active",
        "disabled_at",
        "disabled_reason",
        "disabled_by",
        "failing_since",
        "failures",
        "served_at",
        "rest_until",
        "old_secret_until",
        "created_by",
        "created_at",
    )
    when_empty = "A webhook appears when a manager of an account makes one on its page of webhooks."
    actions = ("disable", "enable")
    actions_detail = ("disable", "enable")

    @verb_action(
        description="Switch off",
        done="switched off",
        form=ReasonForm,
        permissions=["disable"],
        icon="notifications_off",
        variant=ActionVariant.DANGER,
        applies=lambda hook: not hook.is_disabled_by_staff,
    )
    def disable(self, request: HttpRequest, hook: Webhook, data: dict[str, Any]) -> None:
        webhooks.disable_webhook(webhook=hook, reason=data["reason"], by=request.user, now=clock.now())

    @verb_action(
        description="Switch on",
        done="switched on",
        permissions=["disable"],
        icon="notifications_active",
        applies=lambda hook: hook.is_disabled_by_staff,
    )
    def enable(self, request: HttpRequest, hook: Webhook, data: dict[str, Any]) -> None:
        webhooks.enable_webhook(webhook=hook, by=request.user, now=clock.now())

    @display(description="URL")
    def leads_to(self, hook: Webhook) -> str:
        return hook.url if len(hook.url) <= 60 else f"{hook.url[:60]}…"

    @display(description="Events")
    def listens_to(self, hook: Webhook) -> str:
        return ", ".join(hook.events)

    def has_disable_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("outbox.change_webhook")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ViewOnlyAdmin):
    """Show what was sent and what came of it."""

    list_display = ("created_at", "event", "leads_to", "status", "attempt", "response_status", "error", "due_at")
    list_select_related = ("webhook",)
    list_filter = ("status",)
    search_fields = ("event_id__exact", "webhook__id__exact")
    search_help_text = "The id of an event, of a webhook, or of a delivery."
    fields = (
        "webhook",
        "event",
        "event_id",
        "status",
        "attempt",
        "last_attempt",
        "due_at",
        "attempted_at",
        "finished_at",
        "response_status",
        "response_excerpt",
        "error",
        "duration_ms",
        "body",
    )
    when_empty = "Deliveries appear when something happens that a webhook listens for."

    @display(description="URL")
    def leads_to(self, delivery: WebhookDelivery) -> str:
        return str(delivery.webhook)[:60]
