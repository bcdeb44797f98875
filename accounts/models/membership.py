from __future__ import annotations

from django.db import models

from accounts.choices import Role
from gaas.lib.rows import Row


class Membership(Row):
    """Let a user act in an account, with a role."""

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.MEMBER)

    class Meta(Row.Meta):
        verbose_name = "membership"
        constraints = [models.UniqueConstraint(fields=["user", "account"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.account}: {self.get_role_display()}"
