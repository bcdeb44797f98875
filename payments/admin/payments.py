from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import LeanAdmin, ReadOnlyInline
from gaas.lib.amounts import show_micro
from gaas.lib.reasons import ReasonForm, verb_action
from payments import services
from payments.admin import looks
from payments.admin.forms import CameInForm, RecordForm, RefundForm
from payments.choices import PAYMENT_REFUNDABLE, PaymentStatus, Provider
from payments.models import Dispute, Payment, PaymentEvent, Refund, Review


class EventInline(ReadOnlyInline):
    model = PaymentEvent
    fields = ("at", "subject", "from_status", "to_status", "by_label", "reason")
    readonly_fields = fields
    verbose_name_plural = "What happened"


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = ("usd", "status", "reason", "requested_by", "approved_by", "ended_at")
    readonly_fields = fields
    verbose_name_plural = "Refunds"
    show_change_link = True

    @display(description="USD")
    def usd(self, refund: Refund) -> str:
        return show_micro(refund.amount)


class DisputeInline(ReadOnlyInline):
    model = Dispute
    fields = ("usd", "status", "reason", "opened_at", "ended_at")
    readonly_fields = fields
    verbose_name_plural = "Disputes"

    @display(description="USD")
    def usd(self, dispute: Dispute) -> str:
        return show_micro(dispute.amount)


class ReviewInline(ReadOnlyInline):
    model = Review
    fields = ("code", "detail", "status", "outcome", "resolved_by")
    readonly_fields = fields
    verbose_name_plural = "Reviews"
    show_change_link = True


def _is_awaited(payment: Payment) -> bool:
    return payment.provider == Provider.MANUAL and not payment.is_paid and not payment.reference


def _is_draft(payment: Payment) -> bool:
    return payment.is_draft


@admin.register(Payment)
class PaymentAdmin(LeanAdmin):
    """Record what people saw come in, approve what others recorded, send payments back."""

    form = RecordForm
    list_display = ("usd", "account", "provider", "state", "reference", "came_in", "created_at", "drafted_by")
    list_filter = ("status", "provider")
    list_select_related = ("account", "drafted_by")
    search_fields = ("reference__exact", "provider_id__exact", "account__name__startswith")
    search_help_text = "A reference or a provider's id in full, the beginning of the account's name, or an id."
    autocomplete_fields = ("account",)
    inlines = (EventInline, RefundInline, DisputeInline, ReviewInline)
    when_empty = "Payments appear when an owner tops up a wallet, or when you record money that came in."
    actions = ("approve", "reject")
    actions_detail = ("approve", "reject", "confirm", "refund")
    recorded = (("account", "amount"), ("method", "reference"), "reason")
    shown = (
        ("usd", "account"),
        ("status", "provider"),
        ("came_in", "sent_back"),
        ("contested", "can_be_sent_back"),
        ("method", "reference"),
        ("drafted_by", "approved_by"),
        ("provider_id", "created_by"),
        ("created_at", "paid_at"),
        ("expires_at", "failure_detail"),
    )

    @verb_action(
        description="Approve",
        done="approved",
        permissions=["record"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=_is_draft,
    )
    def approve(self, request: HttpRequest, payment: Payment, data: dict[str, Any]) -> None:
        services.approve_payment(payment=payment, by=request.user, now=clock.now())

    @verb_action(
        description="Reject",
        done="rejected",
        form=ReasonForm,
        permissions=["record"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=_is_draft,
    )
    def reject(self, request: HttpRequest, payment: Payment, data: dict[str, Any]) -> None:
        services.reject_payment(payment=payment, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="It came in",
        done="noted",
        form=CameInForm,
        permissions=["record"],
        icon="payments",
        variant=ActionVariant.SUCCESS,
        applies=_is_awaited,
    )
    def confirm(self, request: HttpRequest, payment: Payment, data: dict[str, Any]) -> None:
        services.confirm_payment(payment=payment, by=request.user, now=clock.now(), **data)

    @verb_action(
        description="Refund",
        done="being refunded",
        form=RefundForm,
        permissions=["refund"],
        icon="undo",
        variant=ActionVariant.DANGER,
        applies=lambda payment: payment.status in PAYMENT_REFUNDABLE and payment.refundable > 0,
    )
    def refund(self, request: HttpRequest, payment: Payment, data: dict[str, Any]) -> None:
        services.request_refund(
            payment_id=payment.pk,
            amount=data["amount"] or payment.refundable,
            reason=data["reason"],
            by=request.user,
            now=clock.now(),
        )

    @display(description="USD", ordering=None)
    def usd(self, payment: Payment) -> str:
        return show_micro(payment.amount)

    @display(description="Status", label=looks.PAYMENT)
    def state(self, payment: Payment) -> tuple[str, str]:
        return payment.status, payment.get_status_display()

    @display(description="Came in, USD")
    def came_in(self, payment: Payment) -> str:
        return show_micro(payment.received)

    @display(description="Sent back, USD")
    def sent_back(self, payment: Payment) -> str:
        under_way = f" and {show_micro(payment.refunding)} under way" if payment.refunding else ""
        return f"{show_micro(payment.refunded)}{under_way}"

    @display(description="Contested, USD")
    def contested(self, payment: Payment) -> str:
        return show_micro(payment.disputed)

    @display(description="Can be sent back, USD")
    def can_be_sent_back(self, payment: Payment) -> str:
        return show_micro(payment.refundable)

    def get_fieldsets(self, request: HttpRequest, obj: Payment | None = None) -> Any:
        return [(None, {"fields": self.recorded if obj is None else self.shown})]

    def get_readonly_fields(self, request: HttpRequest, obj: Payment | None = None) -> list[str]:
        if obj is None:
            return []
        return [name for row in self.shown for name in row]

    def get_inlines(self, request: HttpRequest, obj: Payment | None) -> Any:
        return self.inlines if obj is not None else ()

    def get_form(self, request: HttpRequest, obj: Payment | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return form if change else type("RecordedBy", (form,), {"by": request.user})

    def save_model(self, request: HttpRequest, obj: Payment, form: Any, change: bool) -> None:
        # The form's verb has stored it.
        if obj.status == PaymentStatus.PENDING:
            self.message_user(request, "A second person has to approve it before it is credited.", messages.WARNING)

    def has_record_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.add_payment")

    def has_refund_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.refund_payment")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_record_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
