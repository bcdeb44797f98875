from __future__ import annotations

from datetime import datetime
from typing import Any

from gaas.audit.models import AuditEvent
from gaas.audit.services import record
from gaas.lib.errors import Conflict, IllegalTransition
from gaas.lib.lifecycle import Lifecycle


class Decided(Lifecycle):
    """Let people move a row through its states: each move is an audit event, a second one is refused."""

    class Meta:
        abstract = True

    def _decide(self, new: str, *, by: object | None, reason: str, now: datetime, **fields: Any) -> None:
        """Move to `new`; for the platform itself (`by` None) an arrival that happened before is as good.

        Raises Conflict, which names who moved the row last and when.
        """
        try:
            moved = self._move_to(new, by=by, reason=reason, now=now, **fields)
        except IllegalTransition:
            moved = False
        if moved:
            return
        self.refresh_from_db()
        if by is None and self.status == new:
            return
        self._refuse(new)

    def _refuse(self, new: str) -> None:
        last = AuditEvent.objects.filter(object_type=self._meta.label_lower, object_id=str(self.pk)).first()
        since = f", by {last.actor_label or 'the platform'} at {last.at:%Y-%m-%d %H:%M:%S} UTC" if last else ""
        ways = ", ".join(sorted(self.TRANSITIONS[self.status]))
        only = f"it cannot become {new}, only {ways}" if ways else "that is for good"
        raise Conflict(
            f"This {self._meta.verbose_name} is {self.status}{since}; {only}.",
            attr="status",
        )

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        record(
            action=f"{self._meta.model_name}.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new},
            reason=reason,
            now=now,
        )
