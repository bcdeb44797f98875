from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models, transaction

from accounts.querysets import TokenFamilyQuerySet
from gaas.audit.services import record
from gaas.lib.errors import Conflict
from gaas.lib.rows import Row


class TokenFamily(Row):
    """Be one log-in: all refresh and access tokens that came of it carry its id as claim `sid`.

    Only the refresh token whose `jti` is `current_jti` may be exchanged, and the exchange is one
    conditional UPDATE, so of parallel ones exactly one wins.
    """

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="token_families")
    current_jti = models.CharField(max_length=64)
    previous_jti = models.CharField(max_length=64, blank=True)
    rotated_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TokenFamilyQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "log-in"
        verbose_name_plural = "log-ins"

    def __str__(self) -> str:
        return f"Log-in of {self.user}"

    def end(self, *, by: Any, now: datetime) -> None:
        """Log out for somebody else. Raises Conflict for a log-in that has ended."""
        with transaction.atomic():
            if not TokenFamily.objects.filter(pk=self.pk).end(now=now):
                raise Conflict("This log-in has ended already.")
            self.ended_at = now
            record(action="log_in.end", obj=self, by=by, now=now)
