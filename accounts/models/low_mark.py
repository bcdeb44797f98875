from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models.limits import Limit


class LowMark(Limit):
    """Note below which amount an account's people are told, and whether they were since it was last above.

    `below` is None where the platform's setting counts, and 0 where nobody wants to be told.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="low_marks")
    below = models.BigIntegerField(null=True)
    is_low = models.BooleanField(default=False)

    class Meta(Limit.Meta):
        verbose_name = "low mark"
        constraints = [
            models.UniqueConstraint(fields=["account", "asset"], name="low_mark_once"),
            models.CheckConstraint(condition=Q(below__isnull=True) | Q(below__gte=0), name="low_mark_not_negative"),
        ]

    def __str__(self) -> str:
        return "the platform's mark" if self.below is None else f"below {self.show(self.below)}"
