"""What rows say is due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from django.db import transaction

from gaas.lib.errors import DomainError
from payments.models import Payment, Refund, WebhookEvent
from payments.services.begin import follow
from payments.services.credit import locked
from payments.services.earnings import mature_all
from payments.services.inbox import process_event
from payments.services.refunds import send_refund

log = logging.getLogger("app")

BATCH = 100


def sweep(*, now: datetime) -> None:
    """Ask providers about payments, send refunds, give up what nobody paid, let earnings mature.

    Each step bears to be run twice at once; what a batch does not reach, the next sweep does.
    """
    to_look_at = Payment.objects.to_look_at(now=now).order_by("look_at")
    to_send = Refund.objects.filter(send_at__lte=now).order_by("send_at")
    for payment_id in to_look_at.values_list("pk", flat=True)[:BATCH]:
        _each(follow, payment_id=payment_id, now=now)
    for refund_id in to_send.values_list("pk", flat=True)[:BATCH]:
        _each(send_refund, refund_id=refund_id, now=now)
    for payment_id in Payment.objects.overdue(now=now).values_list("pk", flat=True)[:BATCH]:
        _each(expire_payment, payment_id=payment_id, now=now)
    due = WebhookEvent.objects.filter(due_at__lte=now).order_by("due_at")
    for event_id in due.values_list("pk", flat=True)[:BATCH]:
        _each(process_event, event_id=event_id, now=now)
    mature_all(now=now)


def expire_payment(*, payment_id: UUID, now: datetime) -> bool:
    """Give up a payment that nobody paid in time. Its provider is still asked for a while: a late success counts."""
    with transaction.atomic():
        payment = locked(payment_id)
        if not payment.is_open or payment.expires_at is None or payment.expires_at > now:
            return False
        return payment.expire(now=now)


def _each(verb: Callable[..., object], **about: object) -> None:
    """Let one row's trouble be its own."""
    try:
        verb(**about)
    except DomainError as refusal:
        log.warning("payments sweep: %s: %s", verb.__name__, refusal.detail)
    except Exception:
        log.exception("payments sweep: %s failed about %s", verb.__name__, about)
