from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models

from gaas.audit.chain import Link
from gaas.lib.rows import Row


class AuditEventQuerySet(models.QuerySet):
    def chained(self) -> AuditEventQuerySet:
        """Give those that have their place in the chain, in its order."""
        return self.filter(seq__isnull=False).order_by("seq")

    def unchained(self) -> AuditEventQuerySet:
        """Give those that wait for it, whenever their transactions began and ended."""
        return self.filter(seq__isnull=True).order_by("pk")

    def update(self, **fields: Any) -> NoReturn:
        raise TypeError("Audit events are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit events are never removed.")


class AuditEvent(Row):
    """Remember who did what to which row, and why. Rows are added, never changed.

    Objects are named by type and text id, so that an event outlives what it tells of; people are never removed.
    An event gets its place in the chain (gaas.audit.chain) after the commit, so that writers never wait for
    each other; triggers let just that pass.
    """

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    actor_label = models.CharField(max_length=254, blank=True, help_text="Who it was, as known then.")
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=254, blank=True)
    account_id = models.CharField(max_length=64, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    reason = models.CharField(max_length=2000, blank=True)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()
    seq = models.BigIntegerField(
        null=True, blank=True, unique=True, editable=False, help_text="Its place in the chain, from 1."
    )
    digest = models.CharField(
        max_length=64, default="", blank=True, editable=False, help_text="Over what it says and the digest before it."
    )

    objects = AuditEventQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "audit event"
        indexes = [
            models.Index(fields=["action", "-id"], name="audit_action"),
            models.Index(fields=["object_id", "-id"], name="audit_object"),
            models.Index(fields=["account_id", "-id"], name="audit_account"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(seq__isnull=True, digest="") | models.Q(seq__gte=1) & ~models.Q(digest=""),
                name="audit_chained_whole",
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_label or 'the platform'}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the event. Raises TypeError for one that stands already."""
        if not self._state.adding:
            raise TypeError("An audit event is never changed.")
        super().save(*args, **kwargs)

    def chain(self, link: Link) -> bool:
        """Take a place in the chain, once; False where the event has one."""
        untaken = type(self)._base_manager.filter(pk=self.pk, seq__isnull=True)
        return bool(untaken.update(seq=link.seq, digest=link.digest))

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("An audit event is never removed.")
