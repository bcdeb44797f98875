from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts import services
from accounts.models import QuotaRequest
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours
from gaas.lib.reasons import ReasonForm, verb_action


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ViewOnlyAdmin):
    """Answer requests for hours."""

    list_display = ("account", "hours", "requested_by", "reason", "status", "created_at", "decided_by", "decided_at")
    list_filter = ("status",)
    list_select_related = ("account", "requested_by", "decided_by")
    search_fields = ("requested_by__email__startswith", "account__name__startswith")
    search_help_text = "The beginning of the asking person's e-mail address or of the account's name, or an id."
    fields = (
        "account",
        "requested_by",
        "hours",
        "reason",
        "status",
        "hours_granted",
        "decided_by",
        "decided_at",
        "decision_reason",
        "created_at",
    )
    actions = ("approve", "reject")
    actions_detail = ("approve", "reject")

    @verb_action(
        description="Approve", done="approved", permissions=["decide"], icon="check", variant=ActionVariant.SUCCESS
    )
    def approve(self, request: HttpRequest, asked: QuotaRequest, data: dict[str, Any]) -> None:
        services.approve_quota_request(request=asked, by=request.user, now=clock.now())

    @verb_action(
        description="Reject",
        done="rejected",
        form=ReasonForm,
        permissions=["decide"],
        icon="close",
        variant=ActionVariant.DANGER,
    )
    def reject(self, request: HttpRequest, asked: QuotaRequest, data: dict[str, Any]) -> None:
        services.reject_quota_request(request=asked, by=request.user, reason=data["reason"], now=clock.now())

    @display(description="Hours asked for")
    def hours(self, asked: QuotaRequest) -> str:
        return show_hours(asked.gpu_ms)

    @display(description="Hours granted")
    def hours_granted(self, asked: QuotaRequest) -> str | None:
        return None if asked.granted_ms is None else show_hours(asked.granted_ms)

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_quotarequest")
