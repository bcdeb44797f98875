"""Payments and transfers in words for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse

from accounts.ledger.models import Balance, Transfer
from accounts.models import Account
from payments import subjects
from payments.choices import CONTRACT_PREFIX, PaymentStatus, Provider, RefundStatus
from payments.models import Contract, Payment, Refund
from payments.statement_rows import KINDS

# What a transfer of a kind is to the wallet that it enters, and to the one that it leaves.
_KINDS: dict[str, tuple[str, str]] = {
    **{kind: KINDS[kind] for kind in ("topup", "debt_repaid", "refund_failed", "dispute_won", "reversal")},
    "refund": ("Sent back", "Sent back to the payer"),
    "dispute": ("Taken back by a bank", "Taken back by the payer's bank"),
    "allowance": ("Allowance from", "Allowance to"),
    "allowance_back": ("Not used of its allowance by", "Not used of the allowance from"),
    "fund": ("Given by", "Given to"),
    "reclaim": ("Taken back from", "Taken back by"),
    "expired": ("Expired", "Left with a closed account"),
}
# Those whose words want the other account's name.
_BETWEEN = frozenset({"fund", "reclaim", "allowance", "allowance_back"})
WAYS = {Provider.STRIPE: "by card", Provider.ONCHAIN: "on a chain", Provider.MANUAL: "by transfer"}
_OF_PAYMENTS = frozenset({"topup", "refund", "refund_failed", "dispute", "dispute_won", "debt_repaid"})


@dataclass(frozen=True)
class Line:
    """One line of a wallet's history; `amount` is in micro-dollars, below 0 where it left."""

    at: datetime
    said: str
    path: str
    amount: int
    memo: str


def lines_of(transfers: Iterable[Transfer], wallet: Balance, user: Any) -> list[Line]:
    """Write transfers into and out of a wallet, newest first, the legs of one capture as one line."""
    rows = list(transfers)
    named = subjects.name_all({(row.hold.purpose, row.hold.ref) for row in rows if row.hold}, user)
    others = _accounts([row.debit if row.credit_id == wallet.pk else row.credit for row in rows], user)
    lines: list[Line] = []
    before: tuple[str, datetime] | None = None
    for row in rows:
        comes = row.credit_id == wallet.pk
        signed = row.amount if comes else -row.amount
        capture = (row.group, row.created_at) if row.hold and row.group else None
        if capture is not None and capture == before:
            last = lines.pop()
            lines.append(Line(last.at, last.said, last.path, last.amount + signed, last.memo))
            continue
        before = capture
        if row.hold is not None and row.kind not in _KINDS:
            about = named[row.hold.purpose, row.hold.ref]
            lines.append(Line(row.effective_at, about.label, about.path, signed, row.memo))
            continue
        other = others.get((row.debit if comes else row.credit).owner_key, "another account")
        said = _KINDS.get(row.kind, (row.kind.replace("_", " ").capitalize(),) * 2)[0 if comes else 1]
        said = f"{said} {other}" if row.kind in _BETWEEN else said
        lines.append(Line(row.effective_at, said, _path(row, wallet), signed, row.memo))
    return lines


def refunded(refs: Collection[str], user: Any) -> dict[str, subjects.Subject]:
    """Name the payments that refunds are of."""
    seen = Payment.objects.visible_to(user).filter(pk__in=subjects.ids(refs))
    return {str(row.pk): subjects.Subject("A refund", payment_path(row)) for row in seen}


def reserved(refs: Collection[str], user: Any) -> dict[str, subjects.Subject]:
    """Name the contracts that reservations are paid by."""
    by_ref = {ref: ref.removeprefix(CONTRACT_PREFIX) for ref in refs}
    seen = Contract.objects.visible_to(user).filter(pk__in=subjects.ids(by_ref.values()))
    titles = {str(row.pk): f"Reservation: {row.title}" for row in seen}
    return {ref: subjects.Subject(titles[pk]) for ref, pk in by_ref.items() if pk in titles}


def said_of(payment: Payment) -> str:
    """Say in one sentence where a payment stands, and for what it waits."""
    if payment.is_draft:
        return "It came in, and a second member of staff has to confirm that."
    if payment.is_open:
        return _WAITS[payment.provider](payment)
    if payment.status == PaymentStatus.FAILED:
        return f"Nothing was paid: {payment.failure_detail}"
    late = " Should the money come all the same, it is credited." if payment.provider != Provider.MANUAL else ""
    return {
        PaymentStatus.CANCELLED: f"You gave it up; nothing was paid.{late}",
        PaymentStatus.EXPIRED: f"Nobody paid in time.{late}",
        PaymentStatus.SUCCEEDED: "It is in the wallet.",
        PaymentStatus.PARTIALLY_REFUNDED: "It was in the wallet; a part of it was sent back.",
        PaymentStatus.REFUNDED: "All of it was sent back.",
        PaymentStatus.DISPUTED: "The payer's bank takes it back; until that is decided the amount is gone from here.",
        PaymentStatus.DISPUTE_WON: "The payer's bank took it back and returned it: it is in the wallet.",
        PaymentStatus.DISPUTE_LOST: "The payer's bank took it back for good.",
    }[PaymentStatus(payment.status)]


def said_of_refund(refund: Refund) -> str:
    return {
        RefundStatus.REQUESTED: "waits for staff to send it",
        RefundStatus.SENDING: "is on its way",
        RefundStatus.UNKNOWN: "was sent, and its provider has not answered yet",
        RefundStatus.SUCCEEDED: "was sent",
        RefundStatus.FAILED: f"could not be sent and is back in the wallet: {refund.failure_detail}",
        RefundStatus.CANCELLED: "was withdrawn; the amount is back in the wallet",
    }[RefundStatus(refund.status)]


def payment_path(payment: Payment) -> str:
    return reverse("account_payment", args=[payment.account_id, payment.pk])


def chain_uri(told: dict[str, Any]) -> str:
    """Write where to send how much as EIP-681 has it, which wallets read from a picture."""
    if told["token"]:
        return f"ethereum:{told['token']}@{told['chain_id']}/transfer?address={told['send_to']}&uint256={told['units']}"
    return f"ethereum:{told['send_to']}@{told['chain_id']}?value={told['units']}"


def _waits_for_card(payment: Payment) -> str:
    if payment.status == PaymentStatus.CREATED:
        return "The bank's page is being made; this takes a moment."
    return "Waiting for the bank's word. Nothing is in the wallet before it comes."


def _waits_for_chain(payment: Payment) -> str:
    if payment.status == PaymentStatus.CREATED:
        return "The nodes of the chain are being asked; this takes a moment."
    intent = payment.chain
    if intent.confirmations:
        wanted = payment.instructions.get("confirmations", "?")
        return f"Seen on the chain: {intent.confirmations} of {wanted} confirmations. It is credited with the last."
    return intent.problem or "Waiting for your transfer: the chain shows none of this very amount yet."


def _waits_for_transfer(payment: Payment) -> str:
    return "Waiting for your transfer. Staff book it when they see it come in."


_WAITS = {
    Provider.STRIPE: _waits_for_card,
    Provider.ONCHAIN: _waits_for_chain,
    Provider.MANUAL: _waits_for_transfer,
}


def _path(row: Transfer, wallet: Balance) -> str:
    if row.kind not in _OF_PAYMENTS or not row.ref:
        return ""
    try:
        return reverse("account_payment", args=[UUID(wallet.owner_key.partition(":")[2]), UUID(row.ref)])
    except ValueError:
        return ""


def _accounts(balances: list[Balance], user: Any) -> dict[str, str]:
    ids = {balance.owner_key.partition(":")[2] for balance in balances if balance.owner_key.startswith("acct:")}
    if not ids:
        return {}
    return {row.owner_key: str(row) for row in Account.objects.visible_to(user).filter(pk__in=ids)}
