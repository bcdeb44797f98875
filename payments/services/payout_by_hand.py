"""Payouts that people send: taken over, noted by their reference or their transaction, or given up."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.models import User
from gaas.lib.errors import Conflict, DomainError
from gaas.lib.retry import retried
from payments.choices import PayoutStatus, Provider
from payments.models import Payout
from payments.providers import ProviderUnreachable, provider_of
from payments.services.payout_sending import arrived, commit_to_send, failed, payout_of, require_sender
from payments.services.payouts import OwnPayout, hint, locked_payout, refuse_own
from payments.services.references import ReferenceUsed, as_booked, hash_of
from payments.services.sent_transactions import drop, open_of, refuse_sent, serve
from payments.services.two_people import may_pay_out_alone


def begin_sending(*, payout: Payout, by: User, now: datetime) -> Payout:
    """Take a payout over that a person has to send: from here on it cannot be taken back.

    On a chain it must be another person than who agreed; by hand above MANUAL_PAYMENT_LIMIT_USD too. Raises
    NotAllowed, OwnPayout, ProviderUnreachable's Conflict where the chain's nodes do not answer, Conflict where it was
    stopped: then its hold is given back.
    """
    require_sender(by)
    payout = payout_of(payout.pk)
    if not payout.goes_by_hand:
        raise Conflict("The provider sends this payout and tells how it went.")
    if payout.status != PayoutStatus.APPROVED:
        raise Conflict(f"This payout is {payout.get_status_display().lower()}: there is nothing to send.")
    _refuse_same(payout, by, now)
    told: dict[str, Any] = {}
    if payout.provider == Provider.ONCHAIN:
        chain: Any = provider_of(payout.provider)
        try:
            told = chain.payout_terms(payout)
        except ProviderUnreachable as silent:
            raise Conflict(f"{silent} Until it does nobody could see that this was sent; try again later.") from silent
    payout = commit_to_send(payout_id=payout.pk, by=by, now=now, instructions=told)
    if payout.status == PayoutStatus.FAILED:
        raise Conflict(f"It was stopped: {payout.failure_detail}")
    if payout.status != PayoutStatus.SENDING or payout.sent_by_id != by.pk:
        # Of two who take it over at once only one may send it, and nobody what its owner took back meanwhile.
        who = f" by {payout.sent_by}" if payout.sent_by else ""
        raise Conflict(f"This payout is {payout.get_status_display().lower()}{who} by now: do not send it.")
    return payout


@retried
def note_payout_sent(*, payout: Payout, reference: str, by: User, now: datetime) -> Payout:
    """Note under which reference, or by which transaction on a chain, a person sent it.

    By hand it is paid then; on a chain once the nodes show that very transfer deep enough. What was noted before is
    still asked for, since both may be mined. Raises NotAllowed,
    OwnPayout, ReferenceUsed, Conflict where nobody is sending it.
    """
    require_sender(by)
    payout = locked_payout(payout.pk)
    if not payout.goes_by_hand or payout.status != PayoutStatus.SENDING:
        raise Conflict(f"This payout is {payout.get_status_display().lower()}: nobody is sending it.")
    _refuse_same(payout, by, now)
    on_chain = payout.provider == Provider.ONCHAIN
    try:
        with transaction.atomic():
            if not on_chain:
                _, stored = as_booked("payout", reference)
                return arrived(payout_id=payout.pk, by=by, now=now, reference=stored)
            stored = hash_of(reference, attr="reference")
            chain_id = payout.instructions["chain_id"]
            if payout.reference != stored:
                drop(payout, now=now)
                serve(chain_id=int(chain_id), tx_hash=stored, payout=payout)
            noted = {"reference": stored, "provider_id": f"{chain_id}:{stored}", "confirmations": 0}
            Payout.objects.filter(pk=payout.pk).update(
                **noted, failure_detail="", sent_by=by, due_at=now, updated_at=now
            )
    except IntegrityError:
        raise ReferenceUsed(f"Another payout went under {stored}.", attr="reference") from None
    payout.refresh_from_db(fields=["reference", "provider_id", "confirmations", "failure_detail", "sent_by", "due_at"])
    payout.remark(f"Sent by {stored}.", by=by, now=now)
    hint(payout)
    return payout


def give_up_payout(*, payout: Payout, reason: str, by: User, now: datetime) -> Payout:
    """Note that a person did not send it after all; the earnings are free again.

    On a chain each transaction that was noted is asked for first, and again afterwards: one that waits in a mempool
    may be mined later. Raises NotAllowed, OwnPayout for who took it over, Conflict where a provider sends it, the
    chain shows it or may yet, or its nodes do not answer.
    """
    require_sender(by)
    if not reason.strip():
        raise DomainError("Give a reason: the owner will read it.", code="required", attr="reason")
    payout = payout_of(payout.pk)
    _require_in_hand(payout)
    looked_at = refuse_sent(payout) if payout.provider == Provider.ONCHAIN else []
    return _give_up(payout_id=payout.pk, looked_at=looked_at, reason=reason.strip(), by=by, now=now)


@retried
def _give_up(*, payout_id: UUID, looked_at: Collection[UUID], reason: str, by: User, now: datetime) -> Payout:
    payout = locked_payout(payout_id)
    _require_in_hand(payout)
    refuse_own(payout, by, "give up")
    if payout.sent_by_id == by.pk and not may_pay_out_alone(payout, by=by, now=now):
        raise OwnPayout("A second person has to say that what you took over was not sent.")
    if {row.pk for row in open_of(payout)} - set(looked_at):
        raise Conflict("Another transaction was noted for it meanwhile: look again.")
    # What it did not go by, another may have gone by.
    drop(payout, now=now)
    Payout.objects.filter(pk=payout.pk).update(provider_id="", reference="")
    return failed(payout_id=payout.pk, code="not_sent", detail=reason, by=by, now=now)


def _require_in_hand(payout: Payout) -> None:
    if not payout.goes_by_hand or payout.status != PayoutStatus.SENDING:
        raise Conflict("Only what a person is sending can be given up by one.")


def _refuse_same(payout: Payout, by: User, now: datetime) -> None:
    """Raise OwnPayout for who may not send it: see begin_sending."""
    refuse_own(payout, by, "send")
    if payout.approved_by_id == by.pk and not may_pay_out_alone(payout, by=by, now=now):
        raise OwnPayout("A second person has to send the payout that you agreed to.")
