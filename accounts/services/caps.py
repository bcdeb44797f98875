"""Bound what children hold in a period, and say what a task of theirs needs a manager for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from accounts.choices import CapPeriod
from accounts.ledger import services as ledger
from accounts.ledger.models import Asset, Cap
from accounts.models import Account, ApprovalThreshold, CapRule, User
from accounts.periods import period_of
from accounts.services.authority import kept_lineage, locked, locked_in_place, payer_among, require_open, require_over
from accounts.services.organisations import owner_keys_under
from gaas.audit.history import changed_by
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError

# Far above any use, and what keeps sums far from the end of 64 bits.
MAX_LIMIT = 10**15


@dataclass(frozen=True)
class Spending:
    """Say on whom a hold for an account goes, in which caps it counts, and for whom it is."""

    payer: Account
    caps: list[Cap]
    spender: str


def set_cap(*, account: Account, asset: str, period: CapPeriod, limit: int, by: User, now: datetime) -> CapRule:
    """Let an account and all below it hold at most `limit` a period, from this moment on, by whoever pays.

    What was held in the running period counts, whenever that was; where it is more than the limit already,
    nothing more can be held until enough came back or the next period begins. Raises NotAllowed for who does
    not manage the parent, Conflict for a root. Locks: account (against every submit below) → holds → cap.
    """
    _check_limit(limit)
    require_over(account, by, "Capping an account")
    if account.parent_id is None:
        raise Conflict("A cap sits on an account that stands below another; this one has no parent.")
    with transaction.atomic():
        here = locked_in_place(account)
        require_open(here)
        before = CapRule.objects.filter(account=here, asset=asset, period=period).first()
        was = before.limit if before else None
        rule = before or CapRule(account=here, asset=asset, period=period)
        rule.limit = limit
        changed_by(rule, by).save()
        ledger.tighten(cap=_cap_of(rule, now), limit=limit, spenders=owner_keys_under(here))
        record(
            action="account.set_cap",
            obj=here,
            by=by,
            before={} if was is None else {"limit": was},
            after={"asset": asset, "period": period, "limit": limit},
            now=now,
        )
    return rule


def add_standing(rules: Sequence[CapRule], *, now: datetime) -> None:
    """Put on each of an account's caps, as `standing`, how its running period stands; in one query."""
    keys = {f"acct:{rule.account_id}" for rule in rules}
    caps = Cap.objects.filter(owner_key__in=keys, starts_at__lte=now, ends_at__gt=now)
    running = {(cap.owner_key, cap.asset_id, cap.period): cap for cap in caps}
    for rule in rules:
        starts_at, ends_at = period_of(rule.period, now)
        rule.standing = running.get(  # type: ignore[attr-defined]
            (f"acct:{rule.account_id}", rule.asset, rule.period), Cap(starts_at=starts_at, ends_at=ends_at)
        )


def remove_cap(*, rule: CapRule, by: User) -> None:
    """End a cap. Raises NotAllowed for who does not manage the parent."""
    require_over(rule.account, by, "Lifting a cap")
    with transaction.atomic():
        here = locked(rule.account)[0]
        stored = CapRule.objects.filter(pk=rule.pk).first()
        if stored is None:
            raise Conflict("This cap was lifted before.")
        changed_by(stored, by).delete()
        record(
            action="account.remove_cap",
            obj=here,
            by=by,
            before={"asset": rule.asset, "period": rule.period, "limit": rule.limit},
        )


def spending_of(*, account: Account, asset: str, now: datetime) -> Spending:
    """Say how a hold for an account is made, and keep that so until the caller's transaction ends.

    Raises AccountMoved, AccountClosed. Locks: the account and all above it (shared) → caps that begin now.
    """
    lineage = kept_lineage(account)
    return Spending(
        payer=payer_among(lineage),
        caps=[_cap_of(rule, now) for rule in _rules_on(lineage, asset)],
        spender=account.owner_key,
    )


def cap_refusal(*, account: Account, asset: str, amount: int, now: datetime) -> DomainError | None:
    """Give the refusal that a hold of this amount would meet now for a cap, without locking or storing anything."""
    if account.parent_id is None:
        return None
    lineage = list(Account.objects.filter(pk__in=[*account.ancestor_ids, account.pk]))
    for rule in _rules_on(lineage, asset):
        starts_at, ends_at = period_of(rule.period, now)
        cap = (
            Cap.objects.filter(owner_key=rule.account.owner_key, asset=asset, period=rule.period, starts_at=starts_at)
            .select_related("asset")
            .first()
        )
        left = min(cap.left, rule.limit - cap.used) if cap else rule.limit
        if amount > left:
            stand_in = cap or Cap(
                asset=Asset.objects.get(pk=asset),
                owner_key=rule.account.owner_key,
                period=rule.period,
                ends_at=ends_at,
                limit=rule.limit,
                wanted=rule.limit,
            )
            return _explained(stand_in, rule.account, amount)
    return None


def explain_cap(over: ledger.CapExceeded) -> DomainError:
    """Name the cap, its account and when it begins anew; that of a key explains itself."""
    kind, _, pk = over.cap.owner_key.partition(":")
    return _explained(over.cap, Account.objects.get(pk=pk), over.needed) if kind == "acct" else over


def set_threshold(*, account: Account, asset: str, above: int, by: User) -> ApprovalThreshold:
    """Have a manager of the parent (of a root: its own) approve first whatever holds more in one task here or below.

    Tasks that wait already are left as they are. Raises NotAllowed for who does not manage the parent (for a
    root: own it).
    """
    _check_limit(above)
    require_over(account, by, "Setting an approval threshold")
    with transaction.atomic():
        here = locked_in_place(account)
        require_open(here)
        before = ApprovalThreshold.objects.filter(account=here, asset=asset).first()
        was = before.above if before else None
        made = before or ApprovalThreshold(account=here, asset=asset)
        made.above = above
        changed_by(made, by).save()
        record(
            action="account.set_threshold",
            obj=here,
            by=by,
            before={} if was is None else {"above": was},
            after={"asset": asset, "above": above},
        )
    return made


def remove_threshold(*, threshold: ApprovalThreshold, by: User) -> None:
    """End an approval threshold. Raises NotAllowed as setting one does."""
    require_over(threshold.account, by, "Removing an approval threshold")
    with transaction.atomic():
        here = locked(threshold.account)[0]
        stored = ApprovalThreshold.objects.filter(pk=threshold.pk).first()
        if stored is None:
            raise Conflict("This threshold was removed before.")
        changed_by(stored, by).delete()
        record(
            action="account.remove_threshold",
            obj=here,
            by=by,
            before={"asset": threshold.asset, "above": threshold.above},
        )


def thresholds_over(*, account: Account, asset: str, amount: int) -> list[ApprovalThreshold]:
    """List the thresholds on an account and above it that an amount passes, the nearest first."""
    lineage = [account.pk, *reversed(account.ancestor_ids)]
    found = ApprovalThreshold.objects.filter(account__in=lineage, asset=asset, above__lt=amount)
    return sorted(found.select_related("account__parent"), key=lambda row: lineage.index(row.account_id))


def _rules_on(lineage: list[Account], asset: str) -> list[CapRule]:
    """Read the caps on a lineage, always in one order: whoever opens two at once takes turns."""
    if all(row.parent_id is None for row in lineage):
        return []
    rules = CapRule.objects.filter(account__in=[row.pk for row in lineage], asset=asset)
    return list(rules.select_related("account").order_by("account", "period"))


def _cap_of(rule: CapRule, now: datetime) -> Cap:
    starts_at, ends_at = period_of(rule.period, now)
    return ledger.open_cap(
        asset=rule.asset,
        owner_key=f"acct:{rule.account_id}",
        period=rule.period,
        starts_at=starts_at,
        ends_at=ends_at,
        limit=rule.limit,
    )


def _explained(cap: Cap, account: Account, needed: int) -> ledger.CapExceeded:
    renews = (
        f"It begins anew on {cap.ends_at:%Y-%m-%d %H:%M} UTC." if cap.period != CapPeriod.TOTAL else "It is for good."
    )
    cap_of = "in all" if cap.period == CapPeriod.TOTAL else f"a {cap.period}"
    return ledger.CapExceeded(
        cap=cap,
        needed=needed,
        detail=f"This needs {cap.asset.show(needed)}, but the cap of {account} ({cap.asset.show(cap.wanted)} {cap_of}) "
        f"leaves {cap.asset.show(max(0, cap.left))}. {renews} Ask for less, or a manager above {account} to raise it.",
    )


def _check_limit(amount: int) -> None:
    if not 0 <= amount <= MAX_LIMIT:
        raise ledger.InvalidAmount(f"A limit is a whole number from 0 to {MAX_LIMIT}.")
