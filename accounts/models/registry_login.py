from __future__ import annotations

from django.db import models

from gaas.lib.rows import Row
from gaas.lib.sealed import SealedField


class RegistryLogin(Row):
    """Let tasks of an account and everybody below it pull images from one registry. The password is never shown."""

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="registry_logins")
    server = models.CharField(max_length=255, help_text="Such as ghcr.io or docker.io.")
    username = models.CharField(max_length=255)
    password = SealedField(purpose="registry")

    class Meta(Row.Meta):
        verbose_name = "registry log-in"
        constraints = [models.UniqueConstraint(fields=["account", "server"], name="registry_login_once")]

    def __str__(self) -> str:
        return f"{self.username} at {self.server}"
