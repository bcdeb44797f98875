from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.audit.services import record
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from gaas.outbox import services as outbox
from payments.choices import (
    CONTRACT_OPEN,
    CONTRACT_PREFIX,
    CONTRACT_RUNNING,
    ContractKind,
    ContractStatus,
    Interval,
    Side,
)
from payments.models.contract_event import ContractEvent
from payments.news import event_of_contract, news_of_contract
from payments.querysets import ContractQuerySet
from payments.schedule import Schedule

C = ContractStatus


class Contract(Row, Lifecycle):
    """Keep what one account gives or pays another every period.

    An allowance moves hours or money to an account below; a reservation pays an owner for GPU-hours, which come
    into a bucket of this contract. What is given for what stands in `ContractTerms`, when in `schedule`.
    `next_no` is the first period that was not processed; `due_at` is when the contract is to be looked at, None while
    only a person can bring it on. `stop_no` is the first period that will not be, by a cancel.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        C.DRAFT: {C.PROPOSED, C.DECLINED},
        C.PROPOSED: {C.ACTIVE, C.DECLINED},
        C.ACTIVE: {C.PAST_DUE, C.PAUSED, C.ENDED},
        C.PAST_DUE: {C.ACTIVE, C.SUSPENDED, C.PAUSED, C.ENDED},
        C.SUSPENDED: {C.ACTIVE, C.ENDED},
        C.PAUSED: {C.ACTIVE, C.ENDED},
        C.ENDED: set(),
        C.DECLINED: set(),
    }

    kind = models.CharField(max_length=12, choices=ContractKind)
    title = models.CharField(max_length=120)
    payer = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="contracts_paid")
    payee = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="contracts_received")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=9, choices=ContractStatus, default=C.DRAFT, editable=False)

    anchor_on = models.DateField(help_text="The day from which all others are counted.")
    interval = models.CharField(max_length=5, choices=Interval, default=Interval.MONTH)
    time_zone = models.CharField(max_length=64, default="UTC")
    starts_on = models.DateField(help_text="No period begins before it.")
    first_index = models.PositiveIntegerField(
        default=0, editable=False, help_text="How many intervals after the anchor period 0 begins."
    )

    next_no = models.PositiveIntegerField(default=0, editable=False)
    stop_no = models.PositiveIntegerField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(null=True, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Of the period that is past due.")
    faults = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Ticks in a row that raised.")
    trouble = models.TextField(blank=True, editable=False, help_text="Why the last period could not be paid.")
    paused_side = models.CharField(max_length=5, choices=Side, blank=True, editable=False)
    activated_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ContractQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(name="contract_between_two", condition=~Q(payer=F("payee"))),
            models.CheckConstraint(name="contract_status_known", condition=Q(status__in=ContractStatus.values)),
            models.CheckConstraint(
                name="contract_ended_iff_over",
                condition=Q(status__in=[C.ENDED, C.DECLINED], ended_at__isnull=False)
                | (~Q(status__in=[C.ENDED, C.DECLINED]) & Q(ended_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(fields=["payer", "-id"], name="contract_by_payer"),
            models.Index(fields=["payee", "-id"], name="contract_by_payee"),
            models.Index(fields=["status", "-id"], name="contract_by_status"),
            models.Index(fields=["due_at"], name="contract_due", condition=Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def ref(self) -> str:
        """Name this contract in the ledger: the ref of its transfers, and the owner of its bucket."""
        return f"{CONTRACT_PREFIX}{self.pk}"

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.anchor_on, self.interval, self.time_zone, self.first_index)

    @property
    def is_open(self) -> bool:
        """Tell whether its first terms wait to be accepted."""
        return self.status in CONTRACT_OPEN

    @property
    def is_running(self) -> bool:
        return self.status in CONTRACT_RUNNING

    @property
    def is_allowance(self) -> bool:
        return self.kind == ContractKind.ALLOWANCE

    @property
    def next_due(self) -> datetime | None:
        """Give when the next period begins, if one will as things are."""
        if not self.is_running or (self.stop_no is not None and self.next_no >= self.stop_no):
            return None
        return self.schedule.due(self.next_no)

    def side(self, side: str) -> Any:
        return self.payer if side == Side.PAYER else self.payee

    def propose(self, *, by: Any, now: datetime) -> bool:
        return self._move_to(C.PROPOSED, by=by, now=now, reason="Sent to the other side.")

    def activate(self, *, by: Any, now: datetime, first_index: int) -> bool:
        """Begin: both sides accepted the same terms."""
        return self._move_to(
            C.ACTIVE,
            by=by,
            now=now,
            reason="Both sides accepted the terms.",
            first_index=first_index,
            activated_at=now,
            due_at=now,
        )

    def decline(self, *, by: Any, now: datetime, reason: str) -> bool:
        return self._move_to(C.DECLINED, by=by, now=now, reason=reason, ended_at=now, due_at=None)

    def fall_due(self, *, now: datetime, reason: str) -> bool:
        return self._move_to(C.PAST_DUE, by=None, now=now, reason=reason)

    def suspend(self, *, now: datetime, reason: str) -> bool:
        return self._move_to(C.SUSPENDED, by=None, now=now, reason=reason, retry_at=None)

    def pause(self, *, by: Any, side: str, now: datetime, reason: str) -> bool:
        return self._move_to(C.PAUSED, by=by, now=now, reason=reason, paused_side=side, due_at=now)

    def go_on(self, *, by: Any, now: datetime, reason: str) -> bool:
        """Run as agreed again, after a pause, a suspension or a payment that came late."""
        return self._move_to(
            C.ACTIVE, by=by, now=now, reason=reason, paused_side="", retry_at=None, tries=0, trouble="", due_at=now
        )

    def end(self, *, by: Any, now: datetime, reason: str) -> bool:
        return self._move_to(C.ENDED, by=by, now=now, reason=reason, ended_at=now, retry_at=None, due_at=now)

    def note(self, *, by: Any, reason: str, now: datetime) -> None:
        """Write an event that changes no state, and what was done into the audit trail."""
        self._record_move(self.status, self.status, by=by, reason=reason, now=now)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        ContractEvent.note(self.pk, old=old, new=new, by=by, reason=reason, now=now)
        record(
            action=f"contract.{new.lower()}" if old != new else "contract.noted",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new, "next_no": self.next_no, "stop_no": self.stop_no},
            reason=reason,
            now=now,
        )
        if (event := event_of_contract(old, new)) is not None:
            for side in Side:
                outbox.tell(event=event, account=self.side(side), data=news_of_contract(self, reason=reason), now=now)
