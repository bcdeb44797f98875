from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from gaas.lib.reasons import ReasonForm, verb_action
from payments import services
from payments.admin import looks
from payments.admin.forms import ReferenceForm, SettleForm
from payments.choices import RefundStatus
from payments.models import Refund


def _waits(refund: Refund) -> bool:
    return refund.status == RefundStatus.REQUESTED and refund.send_at is None


def _waits_for_a_yes(refund: Refund) -> bool:
    return _waits(refund) and not refund.payment.goes_back_by_hand


def _waits_for_a_hand(refund: Refund) -> bool:
    return _waits(refund) and refund.payment.goes_back_by_hand


@admin.register(Refund)
class RefundAdmin(ViewOnlyAdmin):
    """Let large refunds go, and note those that are sent by hand."""

    list_display = ("usd", "payment", "state", "reason", "requested_by", "approved_by", "created_at")
    list_filter = ("status",)
    list_select_related = ("payment__account", "requested_by", "approved_by")
    search_fields = ("provider_id__exact", "reference__exact")
    search_help_text = "A provider's id or a reference in full, or an id."
    fields = (
        ("usd", "payment"),
        ("status", "is_foreign"),
        "reason",
        ("requested_by", "approved_by"),
        ("reference", "provider_id"),
        ("sent_at", "ended_at"),
        "failure_detail",
    )
    readonly_fields = ("usd", "status")
    when_empty = "Refunds begin on the page of a payment."
    actions = ("approve",)
    actions_detail = ("approve", "note_sent", "cancel", "settle")

    @verb_action(
        description="Approve",
        done="approved",
        permissions=["refund"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=_waits_for_a_yes,
    )
    def approve(self, request: HttpRequest, refund: Refund, data: dict[str, Any]) -> None:
        services.approve_refund(refund=refund, by=request.user, now=clock.now())

    @verb_action(
        description="Sent by hand",
        done="noted",
        form=ReferenceForm,
        permissions=["refund"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=_waits_for_a_hand,
    )
    def note_sent(self, request: HttpRequest, refund: Refund, data: dict[str, Any]) -> None:
        services.note_sent(refund=refund, reference=data["reference"], by=request.user, now=clock.now())

    @verb_action(
        description="Cancel",
        done="cancelled",
        form=ReasonForm,
        permissions=["refund"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=lambda refund: refund.status == RefundStatus.REQUESTED,
    )
    def cancel(self, request: HttpRequest, refund: Refund, data: dict[str, Any]) -> None:
        services.cancel_refund(refund=refund, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Say how it went",
        done="settled",
        form=SettleForm,
        permissions=["refund"],
        icon="fact_check",
        variant=ActionVariant.DANGER,
        applies=lambda refund: refund.status == RefundStatus.UNKNOWN,
    )
    def settle(self, request: HttpRequest, refund: Refund, data: dict[str, Any]) -> None:
        services.settle_refund(
            refund=refund,
            was_sent=data["went"] == "sent",
            reason=data["reason"],
            by=request.user,
            now=clock.now(),
        )

    @display(description="USD")
    def usd(self, refund: Refund) -> str:
        return show_micro(refund.amount)

    @display(description="Status", label=looks.REFUND)
    def state(self, refund: Refund) -> tuple[str, str]:
        return refund.status, refund.get_status_display()

    def has_refund_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.refund_payment")
