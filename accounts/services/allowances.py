"""Give a child hours or money, and take back what it did not spend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Sum

from accounts.choices import PaysFrom, Role
from accounts.ledger import services as ledger
from accounts.ledger.models import Balance, Transfer
from accounts.models import Account, User
from accounts.services.authority import require_open
from accounts.services.hours import PaysFromParent, hours_balance, wallet_balance
from gaas.audit.services import record
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.errors import DomainError, NotAllowed

FUND, RECLAIM = "fund", "reclaim"


@dataclass(frozen=True)
class Reclaimable:
    """Hold what a parent can take back from a child now: GPU-milliseconds and micro-dollars."""

    gpu_ms: int
    micro: int


class NotBelow(DomainError):
    """State that an account does not stand below the one that gives or takes."""

    code = "not_below"


class MoreThanGiven(DomainError):
    """State that more is asked back than was given and is still there."""

    code = "more_than_given"
    depends_on_state = True


def fund(*, account: Account, to: Account, asset: str, amount: int, by: User, key: str) -> Transfer:
    """Move hours (GPU-milliseconds) or money (micro-dollars) from an account to one below it, once for each key.

    Raises NotAllowed for less than a manager, NotBelow, PaysFromParent where either spends another's,
    InsufficientBalance for what is held or not there, AccountClosed, KeyReused. Locks: account below → balances.
    """
    return _move(FUND, account, to, asset, amount, by, key)


def reclaim(*, account: Account, source: Account, asset: str, amount: int, by: User, key: str) -> Transfer:
    """Take back from an account below what this one gave it and what it neither spent nor holds, once for each key.

    What the other has of its own (its welcome hours, what it paid in) is out of reach. Raises as `fund` does, and
    MoreThanGiven.
    """
    return _move(RECLAIM, account, source, asset, amount, by, key)


def given(*, account: Account, to: Account, asset: str) -> int:
    """Sum what an account gave to one below it, less what it took back."""
    up, down = _balance(account, asset), _balance(to, asset)
    gave = Transfer.objects.filter(debit=up, credit=down, kind=FUND).aggregate(sum=Sum("amount"))["sum"] or 0
    took = Transfer.objects.filter(debit=down, credit=up, kind=RECLAIM).aggregate(sum=Sum("amount"))["sum"] or 0
    return int(gave) - int(took)


def reclaimable_of_each(*, account: Account, children: Iterable[Account]) -> dict[UUID, Reclaimable]:
    """Tell for each account below what `reclaim` would take back at most, in two queries whatever their number."""
    children = list(children)
    found = Balance.objects.filter(
        owner_key__in=[row.owner_key for row in (account, *children)], kind__in=("hours", "wallet")
    )
    balances = {(row.owner_key, row.kind): row for row in found}
    up = {kind: balances.get((account.owner_key, kind)) for kind in ("hours", "wallet")}
    ups, all_ = [row.pk for row in up.values() if row], [row.pk for row in balances.values()]
    sums = (
        Transfer.objects.filter(
            Q(kind=FUND, debit__in=ups, credit__in=all_) | Q(kind=RECLAIM, debit__in=all_, credit__in=ups)
        )
        .order_by()
        .values_list("debit", "credit")
        .annotate(Sum("amount"))
    )
    moved = {(debit, credit): int(amount) for debit, credit, amount in sums}

    def left(child: Account, kind: str) -> int:
        above, below = up[kind], balances.get((child.owner_key, kind))
        if above is None or below is None:
            return 0
        net = moved.get((above.pk, below.pk), 0) - moved.get((below.pk, above.pk), 0)
        return max(0, min(net, below.available))

    return {child.pk: Reclaimable(gpu_ms=left(child, "hours"), micro=left(child, "wallet")) for child in children}


def require_sharing(account: Account, by: User) -> None:
    """Raise NotAllowed for less than a manager, whatever other permissions somebody has."""
    role = account.spending_role_of(by)
    if role is None or role < Role.MANAGER:
        raise NotAllowed(f"Sharing what {account} has takes the role of a manager of it.")


def _move(kind: str, account: Account, below: Account, asset: str, amount: int, by: User, key: str) -> Transfer:
    require_sharing(account, by)
    natural = f"{kind}:{account.pk}:{by.pk}:{key}"
    with transaction.atomic():
        # Two reclaims at once would each find the whole gift still to be taken back.
        child = Account.objects.select_for_update(no_key=True, of=("self",)).get(pk=below.pk)
        attr = "to" if kind == FUND else "from"
        if child.pk == account.pk or not child.path.startswith(account.path):
            raise NotBelow(f"{child} does not stand below {account}; name one of its children.", attr=attr)
        stored = Transfer.objects.filter(key=natural).first()
        if stored is None:
            for row in (account, child):
                require_open(row)
            if kind == FUND:
                _refuse_dependent(account, "account")
                _refuse_dependent(child, attr)
            else:
                _refuse_too_much(account, child, asset, amount)
        up, down = _balance(account, asset), _balance(child, asset)
        moved = ledger.transfer(
            key=natural,
            kind=kind,
            debit=up if kind == FUND else down,
            credit=down if kind == FUND else up,
            amount=amount,
            actor=str(by.pk),
            ref=child.owner_key,
        )
        if stored is None:
            record(
                action=f"account.{kind}",
                obj=account,
                by=by,
                after={"child": str(child.pk), "asset": asset, "amount": amount, "transfer": str(moved.pk)},
            )
    return moved


def _refuse_dependent(account: Account, attr: str) -> None:
    if account.pays_from == PaysFrom.PARENT:
        raise PaysFromParent(
            f"{account} spends its parent's hours and money already, so what it has of its own would lie idle.",
            attr=attr,
        )


def _refuse_too_much(account: Account, child: Account, asset: str, amount: int) -> None:
    left = min(given(account=account, to=child, asset=asset), _balance(child, asset).available)
    if amount > left:
        shown = f"{show_hours(max(0, left))} hours" if asset == "GPU" else f"{show_micro(max(0, left))} USD"
        raise MoreThanGiven(
            f"{shown} of what {account} gave to {child} are unspent and not held; take back at most that.",
            attr="hours" if asset == "GPU" else "amount_usd",
        )


def _balance(account: Account, asset: str) -> Balance:
    return hours_balance(account) if asset == "GPU" else wallet_balance(account)
