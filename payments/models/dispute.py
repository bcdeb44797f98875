from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from gaas.outbox import services as outbox
from payments.choices import DisputeStatus
from payments.models.event import PaymentEvent
from payments.news import event_of_dispute, news_of_dispute

D = DisputeStatus


class Dispute(Row, Lifecycle):
    """Follow a payment that the payer's bank takes back until somebody is right. Amounts are micro-dollars.

    `amount` was taken from us at its opening: `from_wallet` and `from_earnings` of it from what the account had,
    `from_debt` it owes from then on.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {D.OPEN: {D.WON, D.LOST}, D.WON: set(), D.LOST: set()}

    payment = models.ForeignKey("payments.Payment", on_delete=models.PROTECT, related_name="disputes")
    provider_id = models.CharField(max_length=200, unique=True)
    amount = models.BigIntegerField()
    from_wallet = models.BigIntegerField()
    from_earnings = models.BigIntegerField()
    from_debt = models.BigIntegerField()
    reason = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=4, choices=DisputeStatus, default=D.OPEN, editable=False)
    opened_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(
                name="dispute_adds_up",
                condition=Q(amount__gt=0, from_wallet__gte=0, from_earnings__gte=0, from_debt__gte=0)
                & Q(amount=F("from_wallet") + F("from_earnings") + F("from_debt")),
            ),
        ]
        indexes = [
            models.Index(fields=["payment", "-id"], name="dispute_by_payment"),
            models.Index(fields=["status", "-id"], name="dispute_by_status"),
        ]

    def __str__(self) -> str:
        return f"dispute over {show_micro(self.amount)} USD"

    @property
    def account_id(self) -> Any:
        return self.payment.account_id

    def win(self, *, now: datetime) -> bool:
        return self._move_to(D.WON, by=None, now=now, ended_at=now)

    def lose(self, *, now: datetime) -> bool:
        return self._move_to(D.LOST, by=None, now=now, ended_at=now)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        PaymentEvent.note(self.payment_id, subject=str(self), old=old, new=new, by=None, reason=reason, now=now)
        record(
            action=f"dispute.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new, "amount": self.amount, "from_debt": self.from_debt},
            now=now,
        )
        self.tell(now=now)

    def tell(self, *, now: datetime) -> None:
        """Tell the webhooks of its account how it stands, once for a state."""
        outbox.tell(
            event=event_of_dispute(self.status),
            account=self.payment.account,
            data=news_of_dispute(self),
            key=f"dispute:{self.pk}:{self.status}",
            now=now,
        )
