from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from gaas.lib.rows import Row
from payments.querysets import ChargeQuerySet


class Charge(Row):
    """Tell what one GPU of one attempt, or of an hour of it, cost, in plain ids: no report needs the task's tables.

    `gpu_ms` are GPU-milliseconds. `charge = fee + owner_part` in micro-dollars is what the payer paid;
    `from_loss` is what the platform paid the owner where the fault was its own. Quota tasks have gpu_ms alone.
    """

    task_id = models.UUIDField()
    attempt_id = models.UUIDField()
    gpu_id = models.UUIDField()
    host_id = models.UUIDField()
    owner_account_id = models.UUIDField()
    account_id = models.UUIDField()
    payer_account_id = models.UUIDField()
    user_id = models.CharField(max_length=36)
    kind = models.CharField(max_length=20)
    funding = models.CharField(max_length=10)
    cost_code = models.CharField(max_length=64, blank=True)
    price_per_hour = models.BigIntegerField(help_text="Micro-dollars, as it stood at the offer.")
    part = models.PositiveIntegerField(default=0, help_text="Of an attempt that is charged hour by hour; else 0.")
    gpu_ms = models.BigIntegerField()
    charge = models.BigIntegerField(help_text="Micro-dollars.")
    fee = models.BigIntegerField(help_text="Micro-dollars.")
    owner_part = models.BigIntegerField(help_text="Micro-dollars.")
    from_loss = models.BigIntegerField(default=0, help_text="Micro-dollars.")
    at = models.DateTimeField()

    objects = ChargeQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["attempt_id", "gpu_id", "part"], name="charge_once_per_part"),
            models.CheckConstraint(name="charge_adds_up", condition=Q(charge=F("fee") + F("owner_part"))),
            models.CheckConstraint(
                name="charge_not_negative",
                condition=Q(gpu_ms__gte=0, charge__gte=0, fee__gte=0, owner_part__gte=0, from_loss__gte=0),
            ),
        ]
        indexes = [
            models.Index(fields=["task_id"], name="charge_by_task"),
            models.Index(fields=["account_id", "at"], name="charge_of_account"),
            models.Index(fields=["owner_account_id", "at"], name="charge_of_owner"),
            models.Index(fields=["user_id", "at"], name="charge_of_user"),
            models.Index(fields=["-at"], name="charge_by_time"),
        ]

    def __str__(self) -> str:
        return f"charge of {self.gpu_ms} GPU-ms for {self.task_id}"
