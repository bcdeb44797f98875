from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Q

from accounts.choices import CapPeriod
from accounts.querysets import ApiKeyQuerySet
from gaas.audit.services import record
from gaas.lib.errors import Conflict
from gaas.lib.ids import uuid7
from gaas.lib.rows import Row


class ApiKey(Row):
    """Let a script act as its user, within scopes.

    Only `prefix`, the public part, and a keyed hash of the secret are kept. A key that was rotated points at its
    successor and is good until `overlap_until`; all of them share the `lineage`, under which the ledger counts
    what was held through them. A key with an `account` acts there and below it alone, with none of its user's
    rights as staff.
    """

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="api_keys")
    account = models.ForeignKey(
        "accounts.Account", on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys"
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True)
    secret_hash = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    allow_list = models.JSONField(default=list, blank=True, help_text="Networks it may be used from; empty: any.")
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.OneToOneField(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="replaces"
    )
    overlap_until = models.DateTimeField(null=True, blank=True)
    lineage = models.UUIDField(default=uuid7, editable=False)
    cap_gpu_ms = models.BigIntegerField(null=True, blank=True)
    cap_microusd = models.BigIntegerField(null=True, blank=True)
    cap_period = models.CharField(max_length=5, choices=CapPeriod, default=CapPeriod.MONTH)

    objects = ApiKeyQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        constraints = [
            models.CheckConstraint(
                condition=Q(replaced_by__isnull=True) | Q(overlap_until__isnull=False),
                name="api_key_replaced_has_an_end",
            ),
            models.CheckConstraint(
                condition=(Q(cap_gpu_ms__isnull=True) | Q(cap_gpu_ms__gte=0))
                & (Q(cap_microusd__isnull=True) | Q(cap_microusd__gte=0)),
                name="api_key_caps_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (gaas_{self.prefix})"

    @property
    def owner_key(self) -> str:
        """Name this key and those it was rotated from in the ledger's caps."""
        return f"key:{self.lineage}"

    def cap_of(self, asset: str) -> int | None:
        """Give the most that may be held through the key in a period, in the asset's integers."""
        return {"GPU": self.cap_gpu_ms, "USD": self.cap_microusd}[asset]

    def admits(self, address: str) -> bool:
        """Tell whether the key may be used from an address."""
        if not self.allow_list:
            return True
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in ipaddress.ip_network(network) for network in self.allow_list)

    def is_live(self, now: datetime) -> bool:
        ends = [end for end in (self.expires_at, self.overlap_until) if end is not None]
        return self.revoked_at is None and all(end > now for end in ends)

    def revoke(self, *, by: Any, now: datetime, reason: str = "") -> None:
        """Refuse the key from now on. Raises Conflict for one that is revoked already."""
        with transaction.atomic():
            if not ApiKey.objects.filter(pk=self.pk, revoked_at__isnull=True).update(revoked_at=now, updated_at=now):
                raise Conflict("This key is revoked already.")
            self.revoked_at = now
            record(action="api_key.revoke", obj=self, by=by, reason=reason, now=now)

    def give_way(self, *, to: ApiKey, overlap: timedelta, now: datetime) -> None:
        """Point at the successor and end after the overlap. Raises Conflict for one that is over or has one."""
        standing = ApiKey.objects.live(now=now).filter(pk=self.pk, replaced_by__isnull=True)
        if not standing.update(replaced_by=to, overlap_until=now + overlap, updated_at=now):
            raise Conflict("This key is revoked, expired or rotated already; make a new one.")
        self.replaced_by, self.overlap_until = to, now + overlap
