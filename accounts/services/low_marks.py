"""Tell people once when what an account can spend falls under a mark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.choices import PaysFrom, Role
from accounts.ledger.models import Balance, Transfer
from accounts.models import Account, LowMark, User
from accounts.services.authority import require_role
from accounts.services.people import people_around
from gaas.audit.services import record
from gaas.lib.amounts import hours_to_ms, parse_micro
from gaas.lib.errors import DomainError
from gaas.outbox import services as outbox
from gaas.outbox.choices import EventType

ASSET_OF = {"hours": "GPU", "wallet": "USD"}
MOST = 10**15
# Sweeps come each minute; one that stood still for less than this misses nothing.
LOOK_BACK = timedelta(hours=1)


def usual_mark(asset: str) -> int:
    """Give the platform's mark in GPU-milliseconds or micro-dollars; 0 tells nobody."""
    return hours_to_ms(parse_micro(settings.HOURS_LOW)) if asset == "GPU" else parse_micro(settings.WALLET_LOW_USD)


@dataclass(frozen=True)
class Standing:
    """Say below what an account's people are told of an asset, whose word that is, and whether they were."""

    asset: str
    below: int
    is_own: bool
    is_low: bool


def set_low_mark(*, account: Account, asset: str, below: int, by: User) -> LowMark:
    """Have people told when an account can spend less than `below`; 0 tells nobody.

    Raises NotAllowed for less than a manager, DomainError for an amount out of bounds.
    """
    if not 0 <= below <= MOST:
        raise DomainError(f"A mark is from 0 to {MOST}.", attr="amount")
    require_role(account, by, Role.MANAGER, "Saying when to be told")
    with transaction.atomic():
        mark, _ = LowMark.objects.select_for_update(no_key=True, of=("self",)).get_or_create(
            account=account, asset=asset
        )
        before, mark.below = mark.below, below
        mark.save(update_fields=["below", "updated_at"])
        record(
            action="account.set_low_mark",
            obj=account,
            by=by,
            before={"asset": asset, "below": before},
            after={"asset": asset, "below": below},
        )
    return mark


def warn_low(*, now: datetime) -> int:
    """Write to who manages an account when it falls under its mark, once until it was above again.

    What is held counts as spent. Only what moved within LOOK_BACK is looked at. Returns how many fell.
    """
    moved = Balance.objects.filter(owner_key__startswith="acct:", kind__in=ASSET_OF, updated_at__gte=now - LOOK_BACK)
    balances = {(_account_id(row), row.asset_id): row for row in moved.select_related("asset")}
    ids = {account_id for account_id, _ in balances}
    accounts = Account.objects.filter(pk__in=ids, closed_at=None, pays_from=PaysFrom.SELF).in_bulk()
    marks = {(mark.account_id, mark.asset): mark for mark in LowMark.objects.filter(account__in=ids)}
    return sum(
        _look(accounts[key[0]], balance, marks.get(key), now) for key, balance in balances.items() if key[0] in accounts
    )


def _look(account: Account, balance: Balance, mark: LowMark | None, now: datetime) -> bool:
    """Note on which side of its mark a balance is; tell whether it fell."""
    below = usual_mark(balance.asset_id) if mark is None or mark.below is None else mark.below
    if balance.available >= below:
        if mark is not None and mark.is_low:
            LowMark.objects.filter(pk=mark.pk).update(is_low=False, updated_at=now)
        return False
    if mark is not None and mark.is_low:
        return False
    if mark is None and not Transfer.objects.filter(credit=balance).exists():
        return False  # nothing was ever there that could have run low
    with transaction.atomic():
        mark = mark or LowMark.objects.get_or_create(account=account, asset=balance.asset_id)[0]
        if not LowMark.objects.filter(pk=mark.pk, is_low=False).update(is_low=True, updated_at=now):
            return False
        left, at = balance.asset.show(balance.available), balance.asset.show(below)
        outbox.tell(
            event=EventType.BALANCE_LOW,
            account=account,
            data={"asset": balance.asset_id, "available": balance.available, "below": below},
            now=now,
        )
        for user in people_around(account):
            _write(user, account, left=left, at=at, key=f"low:{mark.pk}:{now.isoformat()}:{user.pk}")
    return True


def _write(user: User, account: Account, *, left: str, at: str, key: str) -> None:
    outbox.post(
        to=user.email,
        subject=f"{account} runs low: {left} are left",
        template="mail/low.txt",
        context={"account": account, "left": left, "at": at, "user": user, "base_url": settings.BASE_URL},
        key=key,
    )


def marks_of(account: Account) -> dict[str, int]:
    """Give for each asset below which amount an account's people are told."""
    return {row.asset: row.below for row in standing_of(account)}


def standing_of(account: Account) -> list[Standing]:
    """Give how an account stands to its mark of each asset."""
    rows = {row.asset: row for row in LowMark.objects.filter(account=account)}
    found = []
    for asset in ASSET_OF.values():
        row = rows.get(asset)
        own = None if row is None else row.below
        below = usual_mark(asset) if own is None else own
        found.append(Standing(asset, below, own is not None, row is not None and row.is_low))
    return found


def _account_id(balance: Balance) -> UUID:
    return UUID(balance.owner_key.partition(":")[2])
