"""Transactions on a chain that people named for payouts and refunds: each serves one, and is followed to its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from gaas.lib.errors import Conflict
from payments.choices import Provider
from payments.models import Payout, Refund, SentTransaction
from payments.providers import ProviderUnreachable, provider_of
from payments.providers.onchain import Whereabouts
from payments.services.references import ReferenceUsed
from payments.services.reviews import ask

AGAIN, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
# What no node ever heard of is asked for so long; what one did know, until it can never be mined.
LOOK_FOR = timedelta(days=90)


def serve(*, chain_id: int, tx_hash: str, payout: Payout | None = None, refund: Refund | None = None) -> None:
    """Let a transaction serve a payout or a refund, in the caller's transaction. Raises ReferenceUsed.

    UNIQUE(chain, hash) decides between two that name one at the same instant.
    """
    try:
        with transaction.atomic():
            SentTransaction.objects.create(chain_id=chain_id, tx_hash=tx_hash, payout=payout, refund=refund)
    except IntegrityError:
        other = SentTransaction.objects.filter(chain_id=chain_id, tx_hash=tx_hash, dropped_at=None).first()
        what = "payout" if other is None or other.payout_id is not None else "refund"
        raise ReferenceUsed(f"Another {what} went by this transaction.", attr="reference") from None


def drop(payout: Payout, *, now: datetime) -> None:
    """Let a locked payout's transaction serve it no more, and go on asking the chain what becomes of it."""
    payout.transactions.filter(dropped_at=None).update(dropped_at=now, due_at=now + AGAIN, updated_at=now)


def refuse_sent(payout: Payout) -> list[UUID]:
    """Raise Conflict where one of a payout's transactions was mined or may be, or nobody can tell; else list them."""
    chain: Any = provider_of(Provider.ONCHAIN)
    looked_at = []
    for row in open_of(payout):
        try:
            seen = locate(chain, payout, row)
            anew = _sent_anew(chain, payout, row) if seen.state == "dead" else ""
        except ProviderUnreachable as silent:
            raise Conflict(
                f"{silent} Until it does nobody can tell that this was not sent; try again later."
            ) from silent
        if seen.state == "shown":
            more = "" if row.tx_hash == payout.reference else f" by {row.tx_hash}: note that one"
            raise Conflict(f"The chain shows that it was sent{more}: it will be noted as paid.")
        if seen.state == "waiting":
            raise Conflict(
                f"{row.tx_hash} may still be mined: {seen.detail} "
                "Have its sender use its nonce for another transaction. Note that one if it sends this anew; "
                "else give this up once it was mined."
            )
        if anew:
            raise Conflict(f"The chain shows that it was sent by {anew}: note that one, and it will be noted as paid.")
        looked_at.append(row.pk)
    return looked_at


def _sent_anew(chain: Any, payout: Payout, row: SentTransaction) -> str:
    """Give the transaction by which its sender sent the payout instead; empty where there is none but others' own."""
    found = chain.sent_anew(payout, sender=row.sender) if row.sender else []
    serving = SentTransaction.objects.filter(chain_id=row.chain_id, tx_hash__in=found, dropped_at=None)
    taken = set(serving.exclude(payout=payout).values_list("tx_hash", flat=True))
    return next((tx_hash for tx_hash in found if tx_hash not in taken), "")


def open_of(payout: Payout) -> list[SentTransaction]:
    """List a payout's transactions of which it is not known yet that they never will be mined."""
    rows = payout.transactions.order_by("pk")
    return [row for row in rows if row.dropped_at is None or row.due_at is not None]


def locate(chain: Any, payout: Payout, row: SentTransaction) -> Whereabouts:
    """Ask the chain where a transaction is, and keep what it tells of its sender. Raises ProviderUnreachable."""
    seen: Whereabouts = chain.locate(payout, row.tx_hash, sender=row.sender, nonce=row.nonce)
    if (seen.sender, seen.nonce) != (row.sender, row.nonce):
        SentTransaction.objects.filter(pk=row.pk).update(sender=seen.sender, nonce=seen.nonce)
    return seen


def follow_dropped(*, transaction_id: UUID, now: datetime) -> None:
    """Look at a transaction that was given up or replaced; what was mined after all goes before a person.

    Nothing is sent or given back here: whether the owner has the money twice, only they and the books can say.
    Raises ProviderUnreachable.
    """
    row = SentTransaction.objects.select_related("payout").get(pk=transaction_id)
    payout = row.payout
    chain: Any = provider_of(Provider.ONCHAIN)
    mine = SentTransaction.objects.filter(pk=row.pk)
    if payout is None or row.dropped_at is None or row.due_at is None:
        return
    wait = min(max(AGAIN, (now - row.dropped_at) / 4), LONGEST_WAIT)
    if not mine.filter(due_at=row.due_at, due_at__lte=now).update(due_at=now + wait, updated_at=now):
        return
    if SentTransaction.objects.filter(chain_id=row.chain_id, tx_hash=row.tx_hash, dropped_at=None).exists():
        # Named again, for this or for another, which is looked at in its own right.
        mine.update(due_at=None, updated_at=now)
        return
    seen = locate(chain, payout, row)
    if seen.state == "shown" and seen.confirmations >= chain.chain.confirmations:
        _sent_after_all(row, payout)
    elif seen.state in ("shown", "waiting") or (seen.state == "unseen" and now < row.dropped_at + LOOK_FOR):
        return
    mine.update(due_at=None, updated_at=now)


def _sent_after_all(row: SentTransaction, payout: Payout) -> None:
    ask(
        key=f"payout:{payout.pk}:payout_sent_after_all:{row.chain_id}:{row.tx_hash}",
        provider=payout.provider,
        code="payout_sent_after_all",
        detail="A transaction of this payout that was given up or replaced was mined: it may have been paid twice.",
        facts={
            "payout": str(payout.pk),
            "status": payout.status,
            "transaction": row.tx_hash,
            "sender": row.sender,
            "nonce": row.nonce,
        },
        payment=None,
    )
