from __future__ import annotations

from django.db import models

from accounts.querysets import TokenFamilyQuerySet
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
