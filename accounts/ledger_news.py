"""What the ledger, which knows nobody, has others told: what its words name, and whom a broken check concerns."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.urls import reverse

from accounts.ledger import causes
from accounts.ledger.models import CheckRun
from accounts.ledger.services.check_runs import when_broken
from gaas.outbox.services.mail import post

causes.register("acct", page="accounts_account", noun="account")
causes.register("user", page="accounts_user")
causes.register("welcome", page="accounts_user", noun="new user")
causes.register("quota_request", page="accounts_quotarequest")
causes.register("matured", page="ledger_balance", noun="balance")
for _word in ("fund", "reclaim", "close"):
    causes.register(_word, page="accounts_account", noun="account")


@when_broken
def tell_staff(run: CheckRun, fresh: list[int]) -> None:
    """Write to everybody on the staff who may see checks of the books, once for what broke anew."""
    found = [result for result in run.broken if result["number"] in fresh]
    link = settings.BASE_URL + reverse("admin:ledger_checkrun_change", args=[run.pk])
    for user in ModelBackend().with_perm("ledger.view_checkrun").filter(is_staff=True):
        post(
            to=user.email,
            subject="The books do not add up",
            template="mail/books_broken.txt",
            context={"found": found, "link": link},
            key=f"books:{run.pk}:{user.pk}",
        )
