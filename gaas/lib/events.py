"""What a row's history is made of."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models

from gaas.lib.rows import Row


class Event(Row):
    """Record one change in a row's life. `from_status` equals `to_status` for a note within a state.

    A concrete model states `OF`, the name of its foreign key to that row.
    """

    OF: ClassVar[str]

    from_status = models.CharField(max_length=20, blank=True, editable=False)
    to_status = models.CharField(max_length=20, editable=False)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    by_label = models.CharField(max_length=254, editable=False)
    reason = models.TextField(blank=True, editable=False)
    at = models.DateTimeField(editable=False)

    class Meta(Row.Meta):
        abstract = True

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} → {self.to_status} by {self.by_label}"

    @classmethod
    def step(
        cls, of: Any, *, old: str = "", new: str, by: object | None, reason: str = "", now: datetime, **more: Any
    ) -> Self:
        """Make one event of the row with the key `of`, without storing it; `by` is a user, a host, or the platform."""
        return cls(
            **{f"{cls.OF}_id": of},
            **more,
            from_status=old,
            to_status=new,
            by_id=getattr(by, "pk", None) if hasattr(by, "email") else None,
            by_label=label_of(by),
            reason=reason,
            at=now,
        )

    @classmethod
    def note(cls, of: Any, **said: Any) -> Self:
        """Store one event; see `step` for what is said of it."""
        event = cls.step(of, **said)
        event.save(force_insert=True)
        return event


def label_of(by: object | None) -> str:
    """Name who did it, for a reader of the history: an e-mail address, a host, or the platform."""
    if by is None:
        return "platform"
    if hasattr(by, "email"):
        return str(by.email)
    return f"{type(by)._meta.verbose_name} {by}"  # type: ignore[attr-defined]
