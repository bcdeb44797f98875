from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.text import Truncator
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts import services
from accounts.choices import QuotaRequestStatus
from accounts.models import QuotaRequest
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours
from gaas.lib.reasons import ReasonForm, verb_action

STATUS_LABELS = {
    QuotaRequestStatus.PENDING: "warning",
    QuotaRequestStatus.APPROVED: "success",
    QuotaRequestStatus.REJECTED: "danger",
}


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ViewOnlyAdmin):
    """Answer requests for hours."""

    list_display = ("account", "hours", "requested_by", "why", "state", "created_at", "decided_by")
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
    readonly_fields = ("status",)
    when_empty = "People ask by POST /api/v1/quota-requests/ or the form on that page when their hours run out."
    actions = ("approve", "reject")
    actions_detail = ("approve", "reject")

    @verb_action(
        description="Approve",
        done="approved",
        permissions=["decide"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=lambda asked: asked.status == QuotaRequestStatus.PENDING,
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
        applies=lambda asked: asked.status == QuotaRequestStatus.PENDING,
    )
    def reject(self, request: HttpRequest, asked: QuotaRequest, data: dict[str, Any]) -> None:
        services.reject_quota_request(request=asked, by=request.user, reason=data["reason"], now=clock.now())

    @display(description="Reason")
    def why(self, asked: QuotaRequest) -> str:
        return Truncator(asked.reason).chars(120)

    @display(description="Status", label=STATUS_LABELS)
    def state(self, asked: QuotaRequest) -> tuple[str, str]:
        return asked.status, asked.get_status_display()

    @display(description="Hours asked for")
    def hours(self, asked: QuotaRequest) -> str:
        return show_hours(asked.gpu_ms)

    @display(description="Hours granted")
    def hours_granted(self, asked: QuotaRequest) -> str | None:
        return None if asked.granted_ms is None else show_hours(asked.granted_ms)

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_quotarequest")
