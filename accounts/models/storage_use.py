from __future__ import annotations

from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row


class StorageUse(Row):
    """Count what the files of an account take, promised ones included; `quota_bytes` null means the platform's own."""

    account = models.OneToOneField("accounts.Account", on_delete=models.CASCADE, related_name="storage_use")
    used_bytes = models.BigIntegerField(default=0, editable=False)
    quota_bytes = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(name="storage_use_not_negative", condition=Q(used_bytes__gte=0)),
            models.CheckConstraint(
                name="storage_quota_not_negative", condition=Q(quota_bytes__isnull=True) | Q(quota_bytes__gte=0)
            ),
        ]

    def __str__(self) -> str:
        return f"storage of {self.account_id}"
