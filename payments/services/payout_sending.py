"""Payouts that were agreed to: sent by their provider or by a person, and followed to their end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.ledger.services import Leg, capture, platform_balance, release, transfer
from accounts.models import User
from gaas.lib.amounts import show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import PAYOUT_SENT, PayoutStatus
from payments.models import Payout
from payments.providers import ProviderRefused, ProviderUnreachable, Seen, provider_of
from payments.services.credit import clearing, suspense
from payments.services.payouts import OwnPayout, earnings_of, locked_payout, refuse_own, tell_owners, why_stopped
from payments.services.reviews import ask
from payments.services.sent_transactions import locate
from payments.services.two_people import may_pay_out_alone

AGAIN = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
# How often, and for how long, a provider is asked whether what arrived came back; its event tells sooner.
LOOK_BACK_EVERY, LOOK_BACK_FOR = timedelta(days=1), timedelta(days=90)


def send_payout(*, payout_id: UUID, now: datetime) -> Payout:
    """Bring a payout that is due one step further: call its provider, or look. Safe to call any number of times.

    1. Put the next step off, so that of many callers one goes on. 2. Commit to SENDING, or stop it. 3. Call, with our
    key and outside any transaction. 4. Store the answer. No answer is UNKNOWN, never failed: the money may be on its
    way, so it stays held and the same call is made again.
    """
    payout = payout_of(payout_id)
    if not payout.goes_by_hand:
        # Nothing is begun that nobody could go on with.
        provider_of(payout.provider)
    claim = Payout.objects.filter(pk=payout.pk, due_at=payout.due_at, due_at__lte=now)
    if payout.due_at is None or not claim.update(due_at=now + AGAIN, updated_at=now):
        return payout
    if payout.status == PayoutStatus.APPROVED:
        payout = commit_to_send(payout_id=payout.pk, by=None, now=now)
    elif payout.status == PayoutStatus.UNKNOWN:
        stripe: Any = provider_of(payout.provider)
        if not _is_of_this_platform(payout, stripe.platform()):
            return _of_another_platform(payout, stripe.platform(), now)
        payout.send(by=None, now=now, again_at=now + AGAIN)
    if payout.status == PayoutStatus.SENDING:
        return ask_chain(payout, now) if payout.goes_by_hand else _call(payout, now)
    if payout.status in PAYOUT_SENT:
        look_back(payout_id=payout.pk, now=now)
    return payout


@retried
def note_payout_returned(*, payout_id: UUID, total: int, reason: str, by: User | None, now: datetime) -> Payout:
    """Give back to the earnings what came back of a payout: `total` so far, however often it is told.

    A closed account has nobody who could take it out again: there it waits on `suspense` for a person. A person's
    word ends it; a provider's once all of it is back. The fee stays. Raises NotAllowed, OwnPayout,
    Conflict for one that was not sent, DomainError for more than was sent. Locks: account → payout → balances.
    """
    if by is not None:
        require_sender(by)
    payout = locked_payout(payout_id)
    if by is not None:
        refuse_own(payout, by, "note the return of")
        if payout.status != PayoutStatus.PAID:
            raise Conflict(f"This payout is {payout.get_status_display().lower()}: it cannot have come back.")
        if not payout.goes_by_hand:
            raise Conflict("The provider tells when it comes back.")
        if payout.sent_by_id == by.pk and not may_pay_out_alone(payout, by=by, now=now):
            raise OwnPayout("A second person has to say that what you sent came back.")
    if payout.status not in PAYOUT_SENT or total <= payout.returned:
        return payout
    if total > payout.net:
        raise DomainError(f"Only {show_micro(payout.net)} USD were sent.", code="invalid", attr="amount")
    came, nobodys = total - payout.returned, payout.account.closed_at is not None
    transfer(
        key=f"payout:{payout.pk}:returned:{total}",
        kind="payout_returned",
        debit=clearing(payout.provider),
        credit=suspense() if nobodys else earnings_of(payout.account),
        amount=came,
        actor="" if by is None else str(by.pk),
        ref=str(payout.pk),
    )
    if nobodys:
        _set_return_aside(payout, total=total, came=came)
    Payout.objects.filter(pk=payout.pk).update(returned=total, updated_at=now)
    payout.returned = total
    if by is not None or total == payout.net:
        payout.come_back(reason=reason, by=by, now=now)
        tell_owners(payout)
    else:
        payout.remark(f"{show_micro(total)} USD of it came back so far.", by=by, now=now)
    return payout


def _set_return_aside(payout: Payout, *, total: int, came: int) -> None:
    detail = f"{show_micro(came)} USD of a payout came back, and {payout.account} was closed meanwhile."
    ask(
        key=f"payout:{payout.pk}:returned:{total}",
        provider=payout.provider,
        code="return_to_closed_account",
        detail=detail,
        facts={"payout": str(payout.pk), "account": str(payout.account_id)},
        payment=None,
        in_suspense=came,
    )


def look_back(*, payout_id: UUID, now: datetime) -> Payout:
    """Ask the provider whether what arrived came back, and when to ask next.

    What is noted as not sent, and is there, goes before a person. Raises ProviderUnreachable, ProviderRefused.
    """
    payout = payout_of(payout_id)
    if payout.status not in PAYOUT_SENT | {PayoutStatus.FAILED} or payout.goes_by_hand:
        return payout
    stripe: Any = provider_of(payout.provider)
    if stripe.is_elsewhere(payout.platform):
        if Payout.objects.filter(pk=payout.pk, due_at__isnull=False).update(due_at=None, updated_at=now):
            told = f"{payout.platform} sent it, which nobody asks any more whether it came back."
            payout.remark(told, by=None, now=now)
        return payout
    mine = Payout.objects.filter(pk=payout.pk)
    is_over = payout.paid_at is None or now > payout.paid_at + LOOK_BACK_FOR
    try:
        seen = stripe.look_payout(payout)
    except ProviderRefused:
        # It is not there, or not for this key to see, and will not be in a minute.
        again_at = None if is_over else now + LOOK_BACK_EVERY
        mine.filter(due_at__isnull=False).update(due_at=again_at, updated_at=now)
        raise
    returned = int(seen.facts.get("returned", 0))
    if payout.status == PayoutStatus.FAILED:
        is_there = bool(seen.facts) and returned < payout.net
        return arrived(payout_id=payout.pk, by=None, now=now) if is_there else payout
    # Put off, and ended only once it is booked: who dies between the two, or finds the earnings frozen, looks again.
    mine.update(due_at=now + LOOK_BACK_EVERY, updated_at=now)
    payout = note_payout_returned(
        payout_id=payout.pk, total=returned, reason="It came back from the provider.", by=None, now=now
    )
    if is_over or returned >= payout.net:
        mine.update(due_at=None, updated_at=now)
    return payout


def _call(payout: Payout, now: datetime) -> Payout:
    stripe: Any = provider_of(payout.provider)
    try:
        if not _is_of_this_platform(payout, stripe.platform()):
            return _of_another_platform(payout, stripe.platform(), now)
        provider_id, seen = stripe.pay_out(payout, now=now)
    except ProviderRefused as refused:
        return failed(payout_id=payout.pk, code=refused.code, detail=refused.detail, by=None, now=now)
    except ProviderUnreachable as silent:
        again_at = now + max(AGAIN, min((now - (payout.sent_at or now)) / 4, LONGEST_WAIT))
        payout.lose_sight(detail=str(silent) or "The provider did not answer.", now=now, again_at=again_at)
        return payout
    if seen.state == "succeeded":
        return arrived(payout_id=payout.pk, by=None, now=now, provider_id=provider_id)
    differs = "What the provider sent for this payout is not what was agreed to."
    _review(payout, "payout_mismatch", differs, {"provider_id": provider_id, **seen.facts})
    payout.lose_sight(detail="It waits for a review.", now=now, again_at=now + LOOK_BACK_EVERY)
    return payout


def _is_of_this_platform(payout: Payout, platform: str) -> bool:
    """Note, before the first call, from whose account it is made; later tell whether it is the same."""
    if not payout.platform:
        Payout.objects.filter(pk=payout.pk, platform="").update(platform=platform)
        payout.platform = platform
    return payout.platform == platform


def _of_another_platform(payout: Payout, platform: str, now: datetime) -> Payout:
    """Send nothing: what another account was asked to send, this one would send once more."""
    told = f"It was begun by {payout.platform} at {payout.get_provider_display()}"
    detail = f"{told}, and the calls are of {platform} now."
    _review(payout, "payout_other_account", detail, {"begun_by": payout.platform, "key_of": platform})
    again_at = now + LOOK_BACK_EVERY
    if payout.status != PayoutStatus.UNKNOWN:
        payout.lose_sight(detail=detail, now=now, again_at=again_at)
        return payout
    if payout.failure_detail != detail:
        payout.remark(detail, by=None, now=now)
    still = Payout.objects.filter(pk=payout.pk, status=PayoutStatus.UNKNOWN)
    still.update(failure_detail=detail, due_at=again_at, updated_at=now)
    payout.failure_detail, payout.due_at = detail, again_at
    return payout


def ask_chain(payout: Payout, now: datetime) -> Payout:
    if not payout.provider_id:
        return payout
    chain: Any = provider_of(payout.provider)
    waited = now - (payout.sent_at or now)
    wait = min(max(timedelta(seconds=20), waited / 10), LONGEST_WAIT)
    try:
        seen: Seen = chain.look_payout(payout)
    except ProviderUnreachable:
        Payout.objects.filter(pk=payout.pk).update(due_at=now + wait, updated_at=now)
        return payout
    if seen.state == "succeeded" and seen.facts["tx_hash"] == payout.reference:
        return arrived(
            payout_id=payout.pk,
            by=None,
            now=now,
            confirmations=seen.facts["confirmations"],
            expected=payout.provider_id,
        )
    told = _whereabouts(chain, payout)
    detail = seen.detail if seen.facts.get("confirmations") else told or seen.detail
    same = Payout.objects.filter(pk=payout.pk, provider_id=payout.provider_id, status=PayoutStatus.SENDING)
    same.update(
        confirmations=seen.facts.get("confirmations", 0),
        failure_detail=detail,
        due_at=now + wait,
        updated_at=now,
    )
    payout.refresh_from_db()
    return payout


def _whereabouts(chain: Any, payout: Payout) -> str:
    """Remember who sent a transaction that may yet be left behind, and say where it is; empty where nobody can tell."""
    row = payout.transactions.filter(dropped_at=None).first()
    try:
        return "" if row is None else locate(chain, payout, row).detail
    except ProviderUnreachable:
        return ""


@retried
def commit_to_send(
    *, payout_id: UUID, by: User | None, now: datetime, instructions: dict[str, Any] | None = None
) -> Payout:
    """Move an agreed payout to SENDING, or stop it where what it rests on is no more."""
    payout = locked_payout(payout_id)
    if payout.status != PayoutStatus.APPROVED:
        return payout
    if stopped := why_stopped(payout):
        return failed(payout_id=payout.pk, code=stopped.code, detail=stopped.detail, by=by, now=now)
    fields: dict[str, Any] = {"instructions": instructions} if instructions else {}
    payout.send(by=by, now=now, again_at=None if payout.goes_by_hand else now + AGAIN, sent_by=by, **fields)
    return payout


@retried
def arrived(
    *, payout_id: UUID, by: User | None, now: datetime, expected: str = "", reason: str = "", **fields: Any
) -> Payout:
    """Capture what was held: what was sent, and the fee; once. Locks: account → payout → hold → balances."""
    payout = locked_payout(payout_id)
    if payout.status in PAYOUT_SENT or (expected and payout.provider_id != expected):
        return payout
    if payout.status == PayoutStatus.FAILED:
        # Its hold was given back, by a person's word or another call's: the owner may have both now.
        _review(payout, "payout_sent_after_all", "This payout was noted as not sent, and was.", fields)
        return payout
    look_at = None if payout.goes_by_hand or by is not None else now + LOOK_BACK_EVERY
    payout.arrive(by=by, now=now, look_at=look_at, reason=reason, **fields)
    parts = [("payout", clearing(payout.provider), payout.net, "sent")]
    if payout.fee:
        parts.append(("payout_fee", platform_balance(asset="USD", kind="fees"), payout.fee, "fee"))
    legs = [
        Leg(credit=credit, amount=amount, kind=kind, key=f"payout:{payout.pk}:{name}", ref=str(payout.pk))
        for kind, credit, amount, name in parts
    ]
    capture(hold_id=payout.hold_id, legs=legs, final=True, actor="" if by is None else str(by.pk))
    tell_owners(payout)
    return payout


@retried
def failed(*, payout_id: UUID, code: str, detail: str, by: User | None, now: datetime) -> Payout:
    """Give what was held back to the earnings; once."""
    payout = locked_payout(payout_id)
    if payout.status == PayoutStatus.FAILED:
        return payout
    payout.fail(code=code[:64], detail=detail, by=by, now=now)
    release(hold_id=payout.hold_id)
    tell_owners(payout)
    return payout


def _review(payout: Payout, code: str, detail: str, facts: dict[str, Any]) -> None:
    ask(
        key=f"payout:{payout.pk}:{code}:{facts.get('provider_id', '')}",
        provider=payout.provider,
        code=code,
        detail=detail,
        facts={"payout": str(payout.pk), **facts},
        payment=None,
    )


def require_sender(by: User) -> None:
    if not by.has_perm("payments.send_payout"):
        raise NotAllowed("Sending payouts takes the permission for it.")


def payout_of(payout_id: UUID) -> Payout:
    return Payout.objects.select_related("account", "destination", "requested_by", "hold").get(pk=payout_id)
