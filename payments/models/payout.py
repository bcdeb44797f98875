from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from gaas.outbox import services as outbox
from payments.choices import PAYOUT_AGREED, PAYOUT_SENT, PAYOUT_UNDER_WAY, PayoutStatus, Provider
from payments.models.payout_event import PayoutEvent
from payments.news import event_of_payout, news_of_payout
from payments.querysets import PayoutQuerySet

P = PayoutStatus


class Payout(Row, Lifecycle):
    """Follow an account's earnings out of the platform. Amounts are micro-dollars.

    `amount` is held from the request on (`hold`); `fee` of it stays with the platform and the rest, `net`, is sent.
    Neither they nor the destination, a row that never changes, are written again. `provider_key` is ours and goes
    with every call, so that a call sent twice pays once. `provider_id` is the provider's name for it, or the chain
    and hash. `returned` came back of what was sent.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        P.REQUESTED: {P.APPROVED, P.REJECTED, P.CANCELLED},
        P.APPROVED: {P.SENDING, P.CANCELLED, P.FAILED},
        P.SENDING: {P.UNKNOWN, P.PAID, P.FAILED},
        P.UNKNOWN: {P.SENDING, P.PAID, P.FAILED},
        P.PAID: {P.RETURNED},
        P.RETURNED: set(),
        P.FAILED: set(),
        P.CANCELLED: set(),
        P.REJECTED: set(),
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="payouts")
    destination = models.ForeignKey("payments.PayoutDestination", on_delete=models.PROTECT, related_name="payouts")
    provider = models.CharField(max_length=10, choices=Provider, editable=False)
    status = models.CharField(max_length=10, choices=PayoutStatus, default=P.REQUESTED, editable=False)
    amount = models.BigIntegerField(help_text="Micro-dollars taken from the earnings.")
    fee = models.BigIntegerField(default=0, help_text="Micro-dollars of it that stay with the platform.")
    returned = models.BigIntegerField(default=0, editable=False)
    hold = models.OneToOneField("ledger.Hold", on_delete=models.PROTECT, editable=False, related_name="+")

    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    sent_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    # What a person has to send on a chain: to where, of what, how many units, and after which block.
    instructions = models.JSONField(default=dict, blank=True, editable=False)
    provider_key = models.CharField(max_length=80, unique=True, editable=False)
    provider_id = models.CharField(max_length=200, blank=True, editable=False)
    # Whose account of ours the provider was called from: another one would know nothing of it, and send it again.
    platform = models.CharField(max_length=100, blank=True, editable=False)
    # By hand: what the statement calls it, or the hash on the chain.
    reference = models.CharField(max_length=140, blank=True, editable=False)
    confirmations = models.IntegerField(default=0, editable=False)
    failure_code = models.CharField(max_length=64, blank=True, editable=False)
    failure_detail = models.TextField(blank=True, editable=False)
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When the first call was made.")
    due_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When to call or ask next.")
    paid_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PayoutQuerySet.as_manager()

    class Meta(Row.Meta):
        permissions = [
            ("decide_payout", "Can approve and reject payouts"),
            ("send_payout", "Can send payouts and note how they went"),
        ]
        constraints = [
            models.CheckConstraint(
                name="payout_fee_below_amount", condition=Q(amount__gt=0, fee__gte=0, fee__lt=F("amount"))
            ),
            models.CheckConstraint(
                name="payout_returns_at_most_what_was_sent",
                condition=Q(returned__gte=0, returned__lte=F("amount") - F("fee")),
            ),
            models.CheckConstraint(
                name="payout_not_approved_by_its_requester",
                condition=Q(approved_by=None) | ~Q(approved_by=F("requested_by")),
            ),
            models.CheckConstraint(
                name="payout_agreed_by_somebody",
                condition=~Q(status__in=sorted(PAYOUT_AGREED)) | Q(approved_by__isnull=False),
            ),
            models.CheckConstraint(
                name="payout_paid_iff_sent",
                condition=Q(status__in=sorted(PAYOUT_SENT), paid_at__isnull=False)
                | (~Q(status__in=sorted(PAYOUT_SENT)) & Q(paid_at__isnull=True, returned=0)),
            ),
            models.CheckConstraint(
                name="payout_returned_says_how_much", condition=~Q(status=P.RETURNED) | Q(returned__gt=0)
            ),
            # Two payouts by one transfer, or one transaction on a chain, would be one too few.
            models.UniqueConstraint(
                name="payout_provider_id_once", fields=["provider", "provider_id"], condition=~Q(provider_id="")
            ),
            models.UniqueConstraint(
                name="payout_reference_once", fields=["provider", "reference"], condition=~Q(reference="")
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="payout_by_account"),
            models.Index(fields=["status", "-id"], name="payout_by_status"),
            models.Index(fields=["due_at"], name="payout_due", condition=Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"payout of {show_micro(self.amount)} USD"

    @property
    def net(self) -> int:
        """Give what is sent."""
        return self.amount - self.fee

    @property
    def is_under_way(self) -> bool:
        return self.status in PAYOUT_UNDER_WAY

    @property
    def goes_by_hand(self) -> bool:
        """Tell whether a person has to send it: nobody else can, or nobody is trusted with a key."""
        return self.provider != Provider.STRIPE

    def begin(self, *, by: Any, now: datetime) -> None:
        """Record that it was asked for."""
        self._record_move("", self.status, by=by, reason="Asked for.", now=now)

    def remark(self, reason: str, *, by: Any, now: datetime) -> None:
        """Record what was learned of it without a change of its state."""
        self._record_move(self.status, self.status, by=by, reason=reason, now=now)

    def approve(self, *, by: Any, now: datetime) -> bool:
        due_at = None if self.goes_by_hand else now
        return self._move_to(P.APPROVED, by=by, now=now, approved_by=by, approved_at=now, due_at=due_at)

    def reject(self, *, by: Any, reason: str, now: datetime) -> bool:
        return self._end(P.REJECTED, code="rejected", detail=reason, by=by, now=now)

    def cancel(self, *, by: Any, now: datetime) -> bool:
        return self._move_to(P.CANCELLED, by=by, now=now, ended_at=now, due_at=None)

    def fail(self, *, code: str, detail: str, by: Any, now: datetime) -> bool:
        """Note that nothing was sent, and why."""
        return self._end(P.FAILED, code=code, detail=detail, by=by, now=now)

    def send(self, *, by: Any, now: datetime, again_at: datetime | None, **fields: Any) -> bool:
        """Commit to sending before the first call; `again_at` is when to look if no answer is stored."""
        sent_at = self.sent_at or now
        return self._move_to(P.SENDING, by=by, now=now, sent_at=sent_at, due_at=again_at, **fields)

    def lose_sight(self, *, detail: str, now: datetime, again_at: datetime) -> bool:
        """Note that the provider did not answer: it may have been made, so nothing is given back."""
        return self._move_to(P.UNKNOWN, by=None, now=now, reason=detail, failure_detail=detail, due_at=again_at)

    def arrive(self, *, by: Any, now: datetime, look_at: datetime | None, reason: str = "", **fields: Any) -> bool:
        """Note that it was sent; `look_at` is when to ask whether it came back."""
        return self._move_to(
            P.PAID,
            by=by,
            now=now,
            reason=reason,
            paid_at=now,
            ended_at=now,
            due_at=look_at,
            failure_detail="",
            **fields,
        )

    def come_back(self, *, reason: str, by: Any, now: datetime) -> bool:
        return self._move_to(P.RETURNED, by=by, now=now, reason=reason, failure_detail=reason, due_at=None)

    def _end(self, new: str, *, code: str, detail: str, by: Any, now: datetime) -> bool:
        return self._move_to(
            new, by=by, now=now, reason=detail, failure_code=code, failure_detail=detail, ended_at=now, due_at=None
        )

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        PayoutEvent.note(self.pk, old=old, new=new, by=by, reason=reason, now=now)
        record(
            action=f"payout.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={
                "status": new,
                "amount": self.amount,
                "fee": self.fee,
                "destination": str(self.destination_id),
                "reference": self.reference or self.provider_id,
            },
            reason=reason,
            now=now,
        )
        if (event := event_of_payout(old, new)) is not None:
            outbox.tell(event=event, account=self.account, data=news_of_payout(self), now=now)
