from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ReadOnlyInline, ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from gaas.lib.reasons import ReasonForm, verb_action
from payments import services
from payments.admin import looks
from payments.admin.forms import CameBackForm, SentForm, SettleForm
from payments.choices import PayoutStatus
from payments.models import Payout, PayoutEvent, SentTransaction


class PayoutEventInline(ReadOnlyInline):
    model = PayoutEvent
    fields = ("at", "from_status", "to_status", "by_label", "reason")
    readonly_fields = fields
    verbose_name_plural = "What happened"


class SentTransactionInline(ReadOnlyInline):
    model = SentTransaction
    fields = ("tx_hash", "sender", "nonce", "dropped_at", "due_at")
    readonly_fields = fields
    verbose_name_plural = "Transactions that were named for it"


def _waits(payout: Payout) -> bool:
    return payout.status == PayoutStatus.REQUESTED


def _waits_for_a_hand(payout: Payout) -> bool:
    return payout.status == PayoutStatus.APPROVED and payout.goes_by_hand


def _is_in_hand(payout: Payout) -> bool:
    return payout.status == PayoutStatus.SENDING and payout.goes_by_hand


@admin.register(Payout)
class PayoutAdmin(ViewOnlyAdmin):
    """Agree to payouts, send those that people send, and note how they went."""

    list_display = ("usd", "account", "provider", "state", "requested_by", "approved_by", "created_at")
    list_filter = ("status", "provider")
    list_select_related = ("account", "requested_by", "approved_by")
    search_fields = ("reference__exact", "provider_id__exact", "account__name__startswith")
    search_help_text = "A reference or a provider's id in full, the beginning of the account's name, or an id."
    inlines = (PayoutEventInline, SentTransactionInline)
    when_empty = "Payouts appear when an owner asks for earnings."
    actions = ("approve", "reject")
    actions_detail = ("approve", "reject", "begin_sending", "note_sent", "give_up", "came_back", "settle")

    @verb_action(
        description="Approve",
        done="approved",
        permissions=["decide"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=_waits,
    )
    def approve(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.approve_payout(payout=payout, by=request.user, now=clock.now())

    @verb_action(
        description="Reject",
        done="rejected",
        form=ReasonForm,
        permissions=["decide"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=_waits,
    )
    def reject(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.reject_payout(payout=payout, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="I send it",
        done="yours to send now",
        permissions=["send"],
        icon="front_hand",
        variant=ActionVariant.SUCCESS,
        applies=_waits_for_a_hand,
    )
    def begin_sending(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.begin_sending(payout=payout, by=request.user, now=clock.now())

    @verb_action(
        description="It was sent",
        done="noted",
        form=SentForm,
        permissions=["send"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=_is_in_hand,
    )
    def note_sent(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.note_payout_sent(payout=payout, reference=data["reference"], by=request.user, now=clock.now())

    @verb_action(
        description="It was not sent",
        done="given up",
        form=ReasonForm,
        permissions=["send"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=_is_in_hand,
    )
    def give_up(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.give_up_payout(payout=payout, reason=data["reason"], by=request.user, now=clock.now())

    @verb_action(
        description="It came back",
        done="noted",
        form=CameBackForm,
        permissions=["send"],
        icon="undo",
        variant=ActionVariant.DANGER,
        applies=lambda payout: payout.status == PayoutStatus.PAID and payout.goes_by_hand,
    )
    def came_back(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.note_payout_returned(
            payout_id=payout.pk, total=data["amount"], reason=data["reason"], by=request.user, now=clock.now()
        )

    @verb_action(
        description="Say how it went",
        done="settled",
        form=SettleForm,
        permissions=["send"],
        icon="fact_check",
        variant=ActionVariant.DANGER,
        applies=lambda payout: payout.status == PayoutStatus.UNKNOWN,
    )
    def settle(self, request: HttpRequest, payout: Payout, data: dict[str, Any]) -> None:
        services.settle_payout(
            payout=payout,
            was_sent=data["went"] == "sent",
            reason=data["reason"],
            by=request.user,
            now=clock.now(),
        )

    @display(description="USD")
    def usd(self, payout: Payout) -> str:
        return show_micro(payout.amount)

    @display(description="Fee, USD")
    def fee_usd(self, payout: Payout) -> str:
        return show_micro(payout.fee)

    @display(description="To be sent, USD")
    def net_usd(self, payout: Payout) -> str:
        return show_micro(payout.net)

    @display(description="Came back, USD")
    def returned_usd(self, payout: Payout) -> str:
        return show_micro(payout.returned)

    @display(description="The account owes, USD")
    def owes(self, payout: Payout) -> str:
        return show_micro(services.owed_by(payout.account))

    @display(description="Where, in full")
    def where(self, payout: Payout) -> str:
        return payout.destination.detail

    @display(description="What to send on the chain")
    def told(self, payout: Payout) -> str:
        names = {"amount": "Amount", "symbol": "Of", "units": "Units", "send_to": "To", "token": "Token"}
        rows = [(names[name], payout.instructions[name]) for name in names if payout.instructions.get(name)]
        return format_html_join("", "<div>{}: <code>{}</code></div>", rows) or "-"

    @display(description="Status", label=looks.PAYOUT)
    def state(self, payout: Payout) -> tuple[str, str]:
        return payout.status, payout.get_status_display()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # As on the page of the destination: in full to whom it concerns.
        full = ["where"] if self.has_send_permission(request) or self.has_decide_permission(request) else []
        on_chain = ["told"] if obj is not None and obj.instructions else []
        return (
            ("usd", "account"),
            ("fee_usd", "net_usd"),
            ("destination", *full),
            *on_chain,
            ("status", "provider"),
            ("owes", "returned_usd"),
            ("requested_by", "created_at"),
            ("approved_by", "approved_at"),
            ("sent_by", "sent_at"),
            ("reference", "provider_id"),
            ("confirmations", "paid_at"),
            ("failure_code", "failure_detail"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        rows = self.get_fields(request, obj)
        return [name for row in rows for name in ((row,) if isinstance(row, str) else row)]

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.decide_payout")

    def has_send_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.send_payout")
