"""What rows say is due."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from gaas.lib.errors import DomainError
from payments.models import Payment, Payout, Refund, SentTransaction, WebhookEvent
from payments.providers import ProviderUnreachable
from payments.services.begin import ask_provider
from payments.services.credit import locked
from payments.services.inbox import process_event
from payments.services.payout_sending import send_payout
from payments.services.refunds import send_refund
from payments.services.sent_transactions import follow_dropped

log = logging.getLogger("app")

BATCH = 100
# A pass must end before its actor is ended, or what stands at its end never happens.
LONGEST_SECONDS = 15
SILENCES = 3


def sweep(*, now: datetime) -> None:
    """Ask providers about payments, send refunds and payouts, give up what nobody paid.

    Each step bears to be run twice at once; what a batch does not reach, the next sweep does.
    """
    to_look_at = Payment.objects.to_look_at(now=now).order_by("look_at")
    to_send = Refund.objects.filter(send_at__lte=now).order_by("send_at")
    silent: Counter[str] = Counter()
    for payment_id, provider in _in_time(to_look_at.values_list("pk", "provider")[:BATCH]):
        # Of a provider that answers nobody the next sweep asks again, about others first.
        if silent[provider] < SILENCES and not _each(ask_provider, payment_id=payment_id, now=now):
            silent[provider] += 1
    for refund_id in _in_time(to_send.values_list("pk", flat=True)[:BATCH]):
        _each(send_refund, refund_id=refund_id, now=now)
    for payout_id in _in_time(Payout.objects.due(now=now).order_by("due_at").values_list("pk", flat=True)[:BATCH]):
        _each(send_payout, payout_id=payout_id, now=now)
    dropped = SentTransaction.objects.filter(due_at__lte=now).order_by("due_at")
    for transaction_id in _in_time(dropped.values_list("pk", flat=True)[:BATCH]):
        _each(follow_dropped, transaction_id=transaction_id, now=now)
    for payment_id in _in_time(Payment.objects.overdue(now=now).values_list("pk", flat=True)[:BATCH]):
        _each(expire_payment, payment_id=payment_id, now=now)
    due = WebhookEvent.objects.filter(due_at__lte=now).order_by("due_at")
    for event_id in _in_time(due.values_list("pk", flat=True)[:BATCH]):
        _each(process_event, event_id=event_id, now=now)


def expire_payment(*, payment_id: UUID, now: datetime) -> bool:
    """Give up a payment that nobody paid in time. Its provider is still asked for a while: a late success counts."""
    with transaction.atomic():
        payment = locked(payment_id)
        if not payment.is_open or payment.expires_at is None or payment.expires_at > now:
            return False
        return payment.expire(now=now)


def _in_time(rows: Iterable[Any]) -> Iterable[Any]:
    began = time.monotonic()
    for row in rows:
        if time.monotonic() - began > LONGEST_SECONDS:
            return
        yield row


def _each(verb: Callable[..., object], **about: object) -> bool:
    """Let one row's trouble be its own; return False where the provider did not answer."""
    try:
        verb(**about)
    except ProviderUnreachable as silence:
        log.info("payments sweep: %s: %s", verb.__name__, silence)
        return False
    except DomainError as refusal:
        log.warning("payments sweep: %s: %s", verb.__name__, refusal.detail)
    except Exception:
        log.exception("payments sweep: %s failed about %s", verb.__name__, about)
    return True
