"""Where an account's earnings may be sent: added, replaced and retired by its owners, who are told each time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.choices import Role
from accounts.models import Account, User
from accounts.services.authority import require_open
from accounts.services.register import check_verified
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.addresses import as_stored
from payments.choices import Provider
from payments.models import PayoutDestination
from payments.providers import PROVIDERS, ProviderNotSetUp, provider_of
from payments.services.owners import write_to_owners

# More than anybody uses, and what a stolen log-in could hide a wrong one among.
MOST = 10


@retried
def add_destination(
    *,
    account: Account,
    kind: str,
    detail: str,
    by: User,
    now: datetime,
    label: str = "",
    replaces: PayoutDestination | None = None,
) -> PayoutDestination:
    """Add a destination, usable after PAYOUT_COOLDOWN_SECONDS, and retire the one that it replaces.

    Raises NotAllowed for less than an owner, EmailNotVerified, AccountClosed, ProviderNotSetUp, DomainError for a
    detail of another shape, Conflict where it is there already or the replaced one is gone. Locks: account → rows.
    """
    require_owner(account, by, "Saying where earnings are sent")
    check_verified(by, is_needed=True)
    require_open(account)
    stored = _checked(kind, detail)
    Account.objects.select_for_update(no_key=True, of=("self",)).get(pk=account.pk)
    in_use = PayoutDestination.objects.in_use().filter(account=account)
    if replaces is not None:
        replaces = in_use.filter(pk=replaces.pk).first()
        if replaces is None:
            raise Conflict("The destination to be replaced is out of use by now.", attr="replaces")
        _retire(replaces, by=by, now=now)
    if in_use.filter(kind=kind, detail=stored).exists():
        raise Conflict("Earnings of this account may be sent there already.", attr="detail")
    if in_use.count() >= MOST:
        raise Conflict(f"An account has at most {MOST} destinations: retire one first.", attr="account")
    made = PayoutDestination(
        account=account,
        kind=kind,
        detail=stored,
        label=label.strip(),
        replaces=replaces,
        created_by=by,
        usable_at=now + timedelta(seconds=settings.PAYOUT_COOLDOWN_SECONDS),
    )
    made.save(force_insert=True)
    after = {"kind": kind, "detail": made.shown, "replaces": str(replaces.pk) if replaces else ""}
    record(action="payout_destination.add", obj=made, by=by, after=after, now=now)
    _tell(made, by=by, now=now, what="replaced" if replaces else "added", old=replaces)
    return made


@retried
def retire_destination(*, destination: PayoutDestination, by: User, now: datetime) -> PayoutDestination:
    """Take a destination out of use; payouts to it that were not sent yet will not be. Raises NotAllowed, Conflict."""
    require_owner(destination.account, by, "Retiring a destination")
    with transaction.atomic():
        if not _retire(destination, by=by, now=now):
            raise Conflict("This destination is out of use already.")
        _tell(destination, by=by, now=now, what="retired")
    return destination


def require_owner(account: Account, by: User, what: str) -> None:
    role = account.role_of(by)
    if role is None or role < Role.OWNER:
        raise NotAllowed(f"{what} takes the role of an owner of the account.", attr="account")


def _checked(kind: str, detail: str) -> str:
    if kind != Provider.MANUAL:
        try:
            provider_of(kind)
        except ProviderNotSetUp as missing:
            missing.attr = "kind"
            raise
    stored = as_stored(kind, detail)
    chain: Any = getattr(PROVIDERS.get(kind), "chain", None)
    if chain is not None and stored.lower() in (chain.receiver, chain.token):
        raise DomainError("This is an address of the platform's own, or of its token.", code="invalid", attr="detail")
    return stored


def _retire(destination: PayoutDestination, *, by: User, now: datetime) -> bool:
    retired = destination.retire(by=by, now=now)
    if retired:
        record(
            action="payout_destination.retire",
            obj=destination,
            by=by,
            before={"kind": destination.kind, "detail": destination.shown},
            now=now,
        )
    return retired


def _tell(
    destination: PayoutDestination, *, by: User, now: datetime, what: str, old: PayoutDestination | None = None
) -> None:
    write_to_owners(
        destination.account,
        subject=f"Where earnings of {destination.account.name} are sent was changed",
        template="mail/payout_destination.txt",
        context={
            "what": what,
            "destination": destination,
            "old": old,
            "by": by,
            "at": now,
            "address": f"{settings.BASE_URL}/accounts/{destination.account_id}/earnings/",
        },
        key=f"destination:{destination.pk}:{what}",
    )
