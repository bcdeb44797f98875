"""The one way a row changes its state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.db import models, transaction

from gaas.lib.errors import IllegalTransition


class Lifecycle(models.Model):
    """Guard `status` by a literal table and a conditional UPDATE.

    A concrete model states `TRANSITIONS = {state: {next, ...}}`, has a `status` field, and writes its
    event row in `_record_move`. Nothing else assigns `status`.
    """

    # The fields that a concrete model has; declared for readers and type checkers, not as columns.
    status: Any
    updated_at: Any

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {}

    class Meta:
        abstract = True

    def _move_to(
        self,
        new: str,
        *,
        by: object | None,
        reason: str = "",
        now: datetime,
        **fields: Any,
    ) -> bool:
        """Move to `new` and write `fields` with it; return whether this call moved the row.

        1. UPDATE … WHERE status = the state this object was read in; one winner among many callers.
        2. No row changed: the stored state is `new` already → False, else → IllegalTransition, for
           whoever decided did so on a state that is no more.
        3. Moved → the event row, in the same transaction.
        """
        rows: models.QuerySet[Any] = type(self)._base_manager.filter(pk=self.pk)
        old = self.status
        with transaction.atomic():
            if new not in self.TRANSITIONS[old] or not rows.filter(status=old).update(
                status=new, updated_at=now, **fields
            ):
                stored = rows.values_list("status", flat=True).get()
                if stored == new:
                    return False
                raise IllegalTransition(
                    f"This {self._meta.verbose_name} is {stored} and cannot become {new} by this.",
                    current=stored,
                    wanted=new,
                )
            self.status = new
            self.updated_at = now
            for name, value in fields.items():
                setattr(self, name, value)
            self._record_move(old, new, by=by, reason=reason, now=now)
        return True

    @classmethod
    def _move_all_to(cls, new: str, reasons: Mapping[Any, str], *, now: datetime, **fields: Any) -> None:
        """Move rows that the caller locked, all in one state, to `new`: one UPDATE, and their events in one INSERT.

        The objects keep the values that they were read with, but for their state. Raises IllegalTransition, and
        moves none, if any of them is in another state than it was read in: the lock was none.
        """
        for old in {row.status for row in reasons}:
            told = {row: why for row, why in reasons.items() if row.status == old}
            rows: models.QuerySet[Any] = cls._base_manager.filter(pk__in=[row.pk for row in told])
            with transaction.atomic():
                is_legal = new in cls.TRANSITIONS[old]
                if not is_legal or rows.filter(status=old).update(status=new, updated_at=now, **fields) != len(told):
                    raise IllegalTransition(f"Not all are {old} and may become {new}.", current=old, wanted=new)
                cls._record_moves(old, new, reasons=told, now=now)
        for row in reasons:
            row.status = new

    @classmethod
    def _record_moves(cls, old: str, new: str, *, reasons: Mapping[Any, str], now: datetime) -> None:
        raise NotImplementedError

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        raise NotImplementedError
