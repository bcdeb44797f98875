from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_save


class AccountsConfig(AppConfig):
    name = "accounts"
    label = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts import checks, ledger_news  # noqa: F401  register themselves
        from accounts.models import User

        post_save.connect(give_account, sender=User, dispatch_uid="accounts.give_account")


def give_account(*, instance: Any, created: bool, raw: bool, **_: Any) -> None:
    """Open the personal account of a new user, however made; a fixture brings its own."""
    from accounts.services import open_personal_account

    if created and not raw:
        open_personal_account(user=instance)
