"""What webhooks are told of payouts, contracts, disputes and statements, and at which changes: a plain module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaas.outbox.choices import EventType
from payments.choices import ContractStatus, DisputeStatus, PayoutStatus

if TYPE_CHECKING:
    from payments.models import Contract, Dispute, Payout, Statement

C, P = ContractStatus, PayoutStatus
LONGEST_DETAIL = 1000
# Sending, and not knowing, is the platform's own business.
_OF_PAYOUTS = {
    P.REQUESTED: EventType.PAYOUT_REQUESTED,
    P.APPROVED: EventType.PAYOUT_APPROVED,
    P.REJECTED: EventType.PAYOUT_REJECTED,
    P.CANCELLED: EventType.PAYOUT_CANCELLED,
    P.PAID: EventType.PAYOUT_PAID,
    P.FAILED: EventType.PAYOUT_FAILED,
    P.RETURNED: EventType.PAYOUT_RETURNED,
}
_OF_CONTRACTS = {
    C.PROPOSED: EventType.CONTRACT_PROPOSED,
    C.PAST_DUE: EventType.CONTRACT_PAST_DUE,
    C.SUSPENDED: EventType.CONTRACT_SUSPENDED,
    C.PAUSED: EventType.CONTRACT_PAUSED,
    C.ENDED: EventType.CONTRACT_ENDED,
    C.DECLINED: EventType.CONTRACT_DECLINED,
}
_OF_DISPUTES = {
    DisputeStatus.OPEN: EventType.DISPUTE_OPENED,
    DisputeStatus.WON: EventType.DISPUTE_WON,
    DisputeStatus.LOST: EventType.DISPUTE_LOST,
}


def event_of_payout(old: str, new: str) -> EventType | None:
    """Name the event that a change of a payout's state is, if anybody is to be told."""
    return None if old == new else _OF_PAYOUTS.get(P(new))


def event_of_contract(old: str, new: str) -> EventType | None:
    """Name the event that a change of a contract's state is; of a draft the other side does not know."""
    if old == new or (old == C.DRAFT and new != C.PROPOSED):
        return None
    if new == C.ACTIVE:
        return EventType.CONTRACT_ACTIVATED if old == C.PROPOSED else EventType.CONTRACT_RESUMED
    return _OF_CONTRACTS.get(C(new))


def event_of_dispute(new: str) -> EventType:
    return _OF_DISPUTES[DisputeStatus(new)]


def news_of_payout(payout: Payout) -> dict[str, Any]:
    """Give a payout as it is now; where it goes is named by the id of its destination alone."""
    failure = {"code": payout.failure_code, "detail": payout.failure_detail[:LONGEST_DETAIL]}
    return {
        "id": payout.pk,
        "provider": payout.provider,
        "status": payout.status,
        "destination": payout.destination_id,
        "amount_microusd": payout.amount,
        "fee_microusd": payout.fee,
        "returned_microusd": payout.returned,
        "failure": failure if any(failure.values()) else None,
        "created_at": payout.created_at,
        "paid_at": payout.paid_at,
    }


def news_of_contract(contract: Contract, *, reason: str) -> dict[str, Any]:
    """Give a contract as it is now, and why it became so; `periods` have begun."""
    return {
        "id": contract.pk,
        "kind": contract.kind,
        "title": contract.title,
        "status": contract.status,
        "payer": contract.payer_id,
        "payee": contract.payee_id,
        "periods": contract.next_no,
        "reason": reason[:LONGEST_DETAIL],
    }


def news_of_dispute(dispute: Dispute) -> dict[str, Any]:
    """Give a dispute as it is now; `owed_microusd` is what the account lacked."""
    return {
        "id": dispute.pk,
        "payment": dispute.payment_id,
        "status": dispute.status,
        "reason": dispute.reason,
        "amount_microusd": dispute.amount,
        "owed_microusd": dispute.from_debt,
        "opened_at": dispute.opened_at,
    }


def news_of_statement(statement: Statement) -> dict[str, Any]:
    return {"id": statement.pk, "kind": statement.kind, "month": f"{statement.month:%Y-%m}"}
