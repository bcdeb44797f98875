"""Tell webhooks what happened: a row with the deed, a call after its commit, again until it is taken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid5

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.lib.ids import uuid7
from gaas.lib.net import AddressRefused, Answer, Failed, Guard, fetch
from gaas.lib.net.addresses import parse_networks
from gaas.lib.sealed import Unsealable
from gaas.outbox.choices import PING, DeliveryStatus
from gaas.outbox.models import Webhook, WebhookDelivery
from gaas.outbox.signing import MOST_ATTEMPTS, rest_after, rest_after_slow, signature, wait_after

EXCERPT = 1000
DRAIN_SECONDS = 30.0
# Beyond what a call takes with its resolver: then whoever holds a webhook died.
LEASE_MARGIN = timedelta(seconds=20)
TOO_OLD = timedelta(days=3)
# What its column holds is some thirty times that.
MOST_CALLS = 1000
BATCH = 500
GONE = 410


class HasPlace(Protocol):
    """Be an account, as far as it matters here."""

    @property
    def pk(self) -> UUID: ...

    @property
    def ancestor_ids(self) -> list[UUID]: ...

    @property
    def is_listened(self) -> bool: ...


@dataclass(frozen=True)
class Claimed:
    """Hold a delivery that this process alone calls for, until `held_until`."""

    delivery: WebhookDelivery
    webhook: Webhook
    held_until: datetime


def guard() -> Guard:
    """Give what may be called, by the settings."""
    return Guard(
        networks=parse_networks(settings.WEBHOOK_ALLOWED_NETWORKS),
        is_http_allowed=settings.WEBHOOK_ALLOW_HTTP,
        ca_file=settings.WEBHOOK_CA_FILE,
    )


def tell(*, event: str, account: HasPlace, data: dict[str, Any], now: datetime, key: str = "") -> int:
    """Store what happened to an account for each webhook that listens, in the caller's transaction; tell how many.

    `data` becomes the body's `data`: JSON of ids, states and amounts, and nothing secret. The same `key` again is the
    same event, which is told once. No query where the account says that nobody listens. All that hear are told: how
    many they are is bounded where they are made, by account, and a tree is not deep. Sent once the transaction
    commits; should the message be lost, the sweep finds the rows.
    """
    if not account.is_listened:
        return 0
    listening = Webhook.objects.listening(account).order_by("pk").values_list("pk", "events")
    told = [pk for pk, events in listening if event in events]
    if told:
        event_id = uuid5(account.pk, key) if key else uuid7()
        _store(told, event=event, event_id=event_id, account_id=account.pk, data=data, now=now)
    return len(told)


def ping(*, webhook: Webhook, now: datetime) -> WebhookDelivery:
    """Store a trial for one webhook, whatever it listens for; tried once. Raises Conflict for one that is off."""
    if not webhook.is_active:
        raise Conflict("This webhook is off: switch it on first.", attr="is_active")
    data = {"webhook": str(webhook.pk)}
    return _store(
        [webhook.pk], event=PING, event_id=uuid7(), account_id=webhook.account_id, data=data, now=now, attempts=1
    )[0]


def redeliver(*, delivery: WebhookDelivery, now: datetime) -> None:
    """Have an event sent once more, with all its attempts before it; its id and body stay. Raises Conflict."""
    if not Webhook.objects.active().filter(pk=delivery.webhook_id).exists():
        raise Conflict("Its webhook is off: switch it on first.", attr="is_active")
    if delivery.attempt >= MOST_CALLS:
        raise Conflict(f"It was sent {delivery.attempt} times, which is enough.", attr="attempt")
    ended = WebhookDelivery.objects.filter(pk=delivery.pk).exclude(status=DeliveryStatus.PENDING)
    with transaction.atomic():
        again = {"status": DeliveryStatus.PENDING, "finished_at": None, "due_at": now, "updated_at": now}
        if not ended.update(**again, last_attempt=F("attempt") + MOST_ATTEMPTS):
            raise Conflict("It is on its way still.", attr="status")
        Webhook.objects.filter(pk=delivery.webhook_id).update(rest_until=None)
        transaction.on_commit(_hint, robust=True)


def send_due(*, guard: Callable[[], Guard] = guard, seconds: float = DRAIN_SECONDS) -> int:
    """Call for what is due, one after the other, until nothing is or the time is over; tell how many calls were made.

    At most WEBHOOK_SENDERS of a process do so at once; who finds no place leaves its row to them.
    """
    ends_at, sent = time.monotonic() + seconds, 0
    while _places().acquire(blocking=False):
        try:
            while (claimed := claim(now=clock.now())) is not None:
                call(claimed, guard=guard())
                sent += 1
                if time.monotonic() > ends_at:
                    _hint()
                    return sent
        finally:
            _places().release()
        # Who came meanwhile and found no place has left a row that nobody looked for.
        if not Webhook.objects.free(now=clock.now()).with_due(now=clock.now()).exists():
            break
    return sent


def claim(*, now: datetime) -> Claimed | None:
    """Take the next delivery of the webhook that waited longest, or None where none is due.

    1. One conditional UPDATE takes the webhook: one call at a time, however many senders there are. 2. Another takes
    its oldest due delivery, counts the attempt and puts the next one off. A sender that dies now leaves both to others:
    the event comes again, with the same id.
    """
    lease = now + timedelta(seconds=settings.WEBHOOK_SECONDS) + LEASE_MARGIN
    for webhook in Webhook.objects.free(now=now).with_due(now=now)[:20]:
        mine = Webhook.objects.free(now=now).filter(pk=webhook.pk)
        if not mine.update(busy_until=lease, served_at=now):
            continue
        delivery = WebhookDelivery.objects.due(now=now).filter(webhook=webhook).order_by("due_at", "pk").first()
        if delivery is not None:
            attempt = delivery.attempt + 1
            taken = WebhookDelivery.objects.due(now=now).filter(pk=delivery.pk, attempt=delivery.attempt)
            if taken.update(attempt=attempt, attempted_at=now, due_at=lease, updated_at=now):
                delivery.attempt = attempt
                return Claimed(delivery, webhook, lease)
        Webhook.objects.filter(pk=webhook.pk, busy_until=lease).update(busy_until=None)
    return None


def call(claimed: Claimed, *, guard: Guard) -> None:
    """Make the call, outside any transaction and without a connection to the database, and note what came of it."""
    delivery, webhook = claimed.delivery, claimed.webhook
    now = clock.now()
    try:
        headers = _headers(delivery, webhook, now)
    except Unsealable:
        _note(claimed, None, "The secret cannot be read any more: rotate it.", timedelta(), is_unreadable=True)
        return
    if not connection.in_atomic_block:
        # Back to the pool: the slowest receiver holds none.
        connection.close()
    began, answer, error = time.monotonic(), None, ""
    try:
        answer = fetch(
            webhook.url,
            guard=guard,
            method="POST",
            headers=headers,
            body=delivery.body.encode(),
            seconds=settings.WEBHOOK_SECONDS,
            most_bytes=EXCERPT * 4,
        )
    except AddressRefused as refused:
        error = refused.detail
    except Failed as failed:
        error = failed.detail
    _note(claimed, answer, error, timedelta(seconds=time.monotonic() - began))


def disable(*, webhook_id: UUID, reason: str, now: datetime, by: Any = None) -> bool:
    """Switch a webhook off and keep why, and who of the staff did; False for one that is off already.

    Staff switch off what others did, too: from then on it is theirs to switch on.
    """
    hook = Webhook.objects.filter(pk=webhook_id, disabled_by=None) if by else Webhook.objects.active()
    off = {"is_active": False, "disabled_at": now, "disabled_reason": reason[:500], "disabled_by": by, "told_at": None}
    return bool(hook.filter(pk=webhook_id).update(**off, updated_at=now))


def enable(*, webhook_id: UUID, now: datetime) -> bool:
    """Switch on what staff switched off, without its failures; False for what they did not."""
    on = {"is_active": True, "disabled_at": None, "disabled_reason": "", "disabled_by": None, "told_at": None}
    anew = {"failures": 0, "failing_since": None, "rest_until": None, "updated_at": now}
    return bool(Webhook.objects.filter(pk=webhook_id, disabled_by__isnull=False).update(**on, **anew))


def sweep_deliveries(*, now: datetime) -> None:
    """Give up what had its last attempt, or waits for longer than TOO_OLD; forget what ended WEBHOOK_KEEP_DAYS ago."""
    pending = WebhookDelivery.objects.pending().filter(due_at__lte=now)
    spent = pending.filter(attempt__gte=F("last_attempt"))
    spent.update(status=DeliveryStatus.FAILED, finished_at=now, updated_at=now)
    # Since its last attempt, or since somebody had it sent again, however old it is itself.
    old = WebhookDelivery.objects.pending().filter(updated_at__lt=now - TOO_OLD, due_at__lte=now)
    error = "It was not sent in time: the webhook was off, or failed at others."
    old.update(status=DeliveryStatus.FAILED, finished_at=now, error=error, updated_at=now)
    forgotten = WebhookDelivery.objects.filter(finished_at__lt=now - timedelta(days=settings.WEBHOOK_KEEP_DAYS))
    WebhookDelivery.objects.filter(pk__in=list(forgotten.values_list("pk", flat=True)[:BATCH])).delete()


def _store(
    told: Sequence[UUID],
    *,
    event: str,
    event_id: UUID,
    account_id: UUID,
    data: dict[str, Any],
    now: datetime,
    attempts: int = MOST_ATTEMPTS,
) -> list[WebhookDelivery]:
    said = {
        "id": event_id,
        "type": event,
        "created_at": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "account": account_id,
        "data": data,
    }
    body = json.dumps(said, cls=DjangoJSONEncoder, separators=(",", ":"))
    made = [
        WebhookDelivery(
            webhook_id=pk,
            event_id=event_id,
            event=event,
            body=body,
            due_at=now,
            last_attempt=attempts,
        )
        for pk in told
    ]
    WebhookDelivery.objects.bulk_create(made, ignore_conflicts=True)
    transaction.on_commit(_hint, robust=True)
    return made


def _headers(delivery: WebhookDelivery, webhook: Webhook, now: datetime) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "GaaS-Webhooks/1",
        "GaaS-Event": delivery.event,
        "GaaS-Event-Id": str(delivery.event_id),
        "GaaS-Attempt": str(delivery.attempt),
        "GaaS-Signature": signature(delivery.body, secrets=webhook.secrets_at(now), timestamp=int(now.timestamp())),
    }


def _note(
    claimed: Claimed, answer: Answer | None, error: str, spent: timedelta, *, is_unreadable: bool = False
) -> None:
    """Write down what came of a call; only what is still this sender's, since it may have slept beyond its lease."""
    now, delivery, webhook = clock.now(), claimed.delivery, claimed.webhook
    status = answer.status if answer is not None else None
    is_taken = status is not None and 200 <= status < 300
    noted: dict[str, Any] = {
        "response_status": status,
        "response_excerpt": _excerpt(answer),
        "error": "" if is_taken else (error or _why(status))[:300],
        "duration_ms": int(spent.total_seconds() * 1000),
        "updated_at": now,
    }
    mine = WebhookDelivery.objects.pending().filter(pk=delivery.pk)
    hook = Webhook.objects.filter(pk=webhook.pk)
    with transaction.atomic():
        if is_taken:
            mine.update(**noted, status=DeliveryStatus.SUCCEEDED, finished_at=now)
            hook.update(failures=0, failing_since=None, rest_until=now + rest_after_slow(spent))
        else:
            if status == GONE or delivery.attempt >= delivery.last_attempt:
                noted |= {"status": DeliveryStatus.FAILED, "finished_at": now}
            else:
                # Sooner than a sender that died would have left it.
                noted["due_at"] = now + _wait(delivery)
            mine.filter(attempt=delivery.attempt).update(**noted)
            if delivery.event != PING:
                _note_failure(hook, webhook, status, noted["error"] if is_unreadable else "", now)
        hook.filter(busy_until=claimed.held_until).update(busy_until=None)


def _wait(delivery: WebhookDelivery) -> timedelta:
    """Give how long to wait after the attempt that failed, counted from the last time it was sent anew."""
    return wait_after(delivery.attempt - (delivery.last_attempt - MOST_ATTEMPTS))


def _note_failure(hook: Any, webhook: Webhook, status: int | None, why_off: str, now: datetime) -> None:
    failures = webhook.failures + 1
    hook.update(
        failures=failures,
        failing_since=Coalesce(F("failing_since"), now),
        rest_until=now + rest_after(failures),
    )
    days = settings.WEBHOOK_FAILING_DAYS
    if status == GONE:
        why_off = "The receiver answered 410 Gone: it wants no more."
    elif not why_off and webhook.failing_since and now - webhook.failing_since >= timedelta(days=days):
        why_off = f"Nothing was taken for {days:g} days."
    if why_off:
        disable(webhook_id=webhook.pk, reason=why_off, now=now)


def _why(status: int | None) -> str:
    if status is not None and 300 <= status < 400:
        return f"It answered {status}: redirects are not followed. Give the address that it leads to."
    return f"It answered {status}; only 200 to 299 is a success."


def _excerpt(answer: Answer | None) -> str:
    if answer is None:
        return ""
    # PostgreSQL takes no NUL.
    return answer.body.decode("utf-8", "replace").replace("\x00", "\ufffd")[:EXCERPT]


_lock = threading.Lock()
_free_places: threading.Semaphore | None = None


def _places() -> threading.Semaphore:
    """Give this process's places for senders: the worker's other threads are not for receivers to hold."""
    global _free_places
    with _lock:
        if _free_places is None:
            _free_places = threading.Semaphore(settings.WEBHOOK_SENDERS)
        return _free_places


def _hint() -> None:
    from gaas.outbox.actors import send_webhooks  # it imports this package

    send_webhooks.send()
