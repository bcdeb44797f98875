"""Make accounts, change them, move them in the tree, close them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q, Value
from django.db.models.functions import Concat, Length, Replace, Substr

from accounts.choices import MAX_DEPTH, AccountKind, PaysFrom, Role
from accounts.ledger import services as ledger
from accounts.ledger.models import Balance, Hold
from accounts.models import Account, Membership, User
from accounts.services.authority import (
    AccountMoved,
    is_clerk,
    kept_lineage,
    locked,
    locked_in_place,
    refuse_own_gain,
    require_open,
    require_over,
    require_role,
)
from accounts.services.hours import hours_balance, wallet_balance
from accounts.services.webhooks import switch_off_strangers
from gaas.audit.history import changed_by
from gaas.audit.services import record
from gaas.lib import clock
from gaas.lib.amounts import show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed

# A tree beyond this is a slip of a script, and its managers' lists would be of no use.
MAX_CHILDREN = 10_000
MAX_OWNED = 100


class TooDeep(DomainError):
    """State that a tree of accounts would have too many levels."""

    code = "too_deep"

    def __init__(self) -> None:
        super().__init__(f"A tree of accounts has at most {MAX_DEPTH} levels; choose a parent nearer to the root.")
        self.attr = "parent"


class Cycle(DomainError):
    """State that an account would stand below itself."""

    code = "cycle"


class OpenHolds(Conflict):
    """State that something below the account is still under way."""

    code = "open_holds"


class NoOwner(Conflict):
    """State that an account would be left without anybody who owns it."""

    code = "no_owner"


class NotEmpty(Conflict):
    """State that something is left that has to go first."""

    code = "not_empty"


def create_account(*, name: str, by: User) -> Account:
    """Make an organisation that the user owns.

    Raises NotAllowed through a key that is bound to another account, Conflict where somebody owns very many.
    """
    if by.bound_to is not None:
        raise NotAllowed("This key is bound to an account; it makes none outside of it.")
    with transaction.atomic():
        if by.memberships.filter(role=Role.OWNER, account__closed_at=None).count() >= MAX_OWNED:
            raise Conflict(f"You own {MAX_OWNED} accounts; close one first.", code="too_many")
        account = Account(name=name)
        changed_by(account, by).save()
        Membership.objects.create(account=account, user=by, role=Role.OWNER)
        record(action="account.create", obj=account, by=by, after={"name": name})
    return account


def create_child(*, parent: Account, name: str, pays_from: str = PaysFrom.SELF, by: User) -> Account:
    """Make an account below another; whoever manages or owns that one does so here too.

    Raises NotAllowed for less than a manager, TooDeep, AccountClosed.
    """
    require_role(parent, by, Role.MANAGER, "Making a child account")
    if parent.kind == AccountKind.PLATFORM:
        raise NotAllowed("The platform's account has no children.")
    with transaction.atomic():
        above = kept_lineage(parent)[-1]
        if above.depth >= MAX_DEPTH:
            raise TooDeep
        if above.children.filter(closed_at=None).count() >= MAX_CHILDREN:
            raise Conflict(f"{parent} has {MAX_CHILDREN} children; close one first.", code="too_many")
        child = Account(name=name, parent=above, pays_from=pays_from)
        changed_by(child, by).save()
        record(
            action="account.create",
            obj=child,
            by=by,
            after={"name": name, "parent": str(above.pk), "pays_from": pays_from},
        )
    return child


def change_account(*, account: Account, changes: dict[str, Any], by: User) -> Account:
    """Make each of the changes `parent`, `pays_from` and `name` that is there, all or none; raises as they do."""
    with transaction.atomic():
        if "parent" in changes:
            account = move_account(account=account, parent=changes["parent"], by=by)
        if "pays_from" in changes:
            account = set_pays_from(account=account, pays_from=changes["pays_from"], by=by)
        if "name" in changes:
            account = rename_account(account=account, name=changes["name"], by=by)
    return account


def rename_account(*, account: Account, name: str, by: User) -> Account:
    """Give an account another name. Raises NotAllowed for less than a manager."""
    require_role(account, by, Role.MANAGER, "Renaming")
    with transaction.atomic():
        here = locked(account)[0]
        before, here.name = here.name, name
        changed_by(here, by).save(update_fields=["name", "updated_at"])
        record(action="account.rename", obj=here, by=by, before={"name": before}, after={"name": name})
    return here


def set_pays_from(*, account: Account, pays_from: str, by: User) -> Account:
    """Have holds go on the account itself or on its parent; holds that stand stay where they are.

    What an account that pays from its parent still has of its own waits until it pays for itself again.
    An account that came below by its own owner's will pays from the parent by the will of both, and for itself by
    that of either. Raises NotAllowed for who does not manage the parent, Conflict for a root.
    """
    _require_payer_choice(account, pays_from, by)
    with transaction.atomic():
        here = locked_in_place(account)
        require_open(here)
        if here.parent_id is None and pays_from == PaysFrom.PARENT:
            raise Conflict("An account without a parent pays for itself.", attr="pays_from")
        before, here.pays_from = here.pays_from, pays_from
        changed_by(here, by).save(update_fields=["pays_from", "updated_at"])
        record(
            action="account.set_pays_from",
            obj=here,
            by=by,
            before={"pays_from": before},
            after={"pays_from": pays_from},
        )
    return here


def move_account(*, account: Account, parent: Account | None, by: User) -> Account:
    """Put an account, with all below it, under another one, or under none.

    1. The mover owns it, and manages where it goes; who owns it from above alone keeps it below what they own,
    and who owns what is above a person's own account may only let that go (two people do it by `links`).
    2. Lock it and the roots of both trees: every move within a tree waits here, and so does every submit. 3. No
    open hold, no cycle, no ninth level; under none, an owner of its own. 4. Rewrite the paths below. Caps and
    thresholds that the old parent set end, and webhooks that its people made are off; without a parent it pays for
    itself. Raises NotAllowed, OpenHolds,
    Cycle, TooDeep, NoOwner, AccountMoved.
    """
    _require_mover(account, parent, by)
    return place(account=account, parent=parent, by=by)


def place(*, account: Account, parent: Account | None, by: User) -> Account:
    """Do steps 2 to 4 of move_account for who may; raises as it does."""
    if account.kind == AccountKind.PLATFORM or (parent is not None and parent.kind == AccountKind.PLATFORM):
        raise NotAllowed("The platform's account stands alone.")
    with transaction.atomic():
        roots = [Account(pk=_root_id(row)) for row in (account, parent) if row is not None]
        here, *_ = locked(account, *roots, *([parent] if parent else []))
        above = Account.objects.get(pk=parent.pk) if parent else None
        if here.path != account.path or (above is not None and above.path != parent.path):  # type: ignore[union-attr]
            raise AccountMoved(account)
        require_open(here)
        if above is not None and above.path.startswith(here.path):
            raise Cycle("An account cannot stand below itself or below one of its children.", attr="parent")
        if here.parent_id == (above.pk if above else None):
            return here
        refuse_open_holds(here)
        if above is None:
            if not here.memberships.filter(role=Role.OWNER).exists():
                raise NoOwner(f"{here} has no owner of its own; make one of its members its owner first.")
        else:
            require_open(above)
            if above.depth + _height(here) > MAX_DEPTH:
                raise TooDeep
        before = str(here.parent_id or "")
        _rewrite(here, above, by)
        for policy in (*here.cap_rules.all(), *here.approval_thresholds.all()):
            changed_by(policy, by, reason="The account was moved").delete()
        switch_off_strangers(account=here, now=clock.now())
        record(
            action="account.move",
            obj=here,
            by=by,
            before={"parent": before},
            after={"parent": str(here.parent_id or "")},
        )
    return here


def close_account(*, account: Account, by: User, reason: str = "", now: datetime) -> Account:
    """End an account for good; its history stays.

    Hours that are left go to the parent, or expire where none is above. Raises NotAllowed for who does not own
    it or for a personal account, OpenHolds, NotEmpty while there is money or an open child.
    """
    require_role(account, by, Role.OWNER, "Closing an account")
    if account.kind != AccountKind.ORGANISATION:
        raise NotAllowed("Only an organisation's account can be closed; a person is switched off by staff.")
    if came_by_consent(account) and not owns_itself(account, by) and not is_clerk(by):
        # What it has left goes to the parent, whose owner could help themselves so.
        raise NotAllowed(f"{account} came below by its own owner's will, and is closed by an owner of its own.")
    with transaction.atomic():
        here = locked(account)[0]
        require_open(here)
        if here.children.filter(closed_at=None).exists():
            raise NotEmpty(f"{here} has children that are open; close or move them first.")
        refuse_open_holds(here)
        money = Balance.objects.filter(owner_key=here.owner_key, asset="USD").exclude(posted=0).first()
        if money is not None:
            raise NotEmpty(f"{here} has {show_micro(money.posted or 0)} USD; spend it, or have it paid out or back.")
        hours, wallet = hours_balance(here), wallet_balance(here)
        if hours.available:
            _return_hours(here, hours, by)
        ledger.close(balance=hours)
        ledger.close(balance=wallet)
        here.closed_at = now
        changed_by(here, by, reason=reason).save(update_fields=["closed_at", "updated_at"])
        here.invitations.open().update(revoked_at=now, updated_at=now)
        record(action="account.close", obj=here, by=by, reason=reason, now=now)
    return here


def owner_keys_under(account: Account) -> list[str]:
    """Name in the ledger's words the account and everything below it."""
    return [f"acct:{pk}" for pk in Account.objects.under(account).values_list("pk", flat=True)]


def refuse_open_holds(account: Account) -> None:
    """Raise OpenHolds while something is held for the account or from it, or for or from one below it."""
    keys = owner_keys_under(account)
    held = Hold.objects.open().filter(Q(spender__in=keys) | Q(balance__owner_key__in=keys))
    count = held[:1000].count()
    if count:
        raise OpenHolds(f"{count} holds of {account} and of what is below it are open; end those tasks first.")


def has_owner(account: Account) -> bool:
    """Tell whether somebody owns the account, by membership here or above."""
    lineage = [account.pk, *account.ancestor_ids]
    return Membership.objects.filter(account__in=lineage, role=Role.OWNER, user__is_active=True).exists()


def came_by_consent(account: Account) -> bool:
    """Tell whether the account stands below its parent because its own owner said so."""
    if account.parent_id is None:
        return False
    return account.kind == AccountKind.PERSON or account.links.filter(account=account.parent_id).exists()


def owns_itself(account: Account, by: User) -> bool:
    """Tell whether somebody owns the account by membership, not from above."""
    if by.bound_to is not None and account.role_of(by) is None:
        return False
    return bool(account.memberships.filter(user=by, role=Role.OWNER).exists())


def _require_payer_choice(account: Account, pays_from: str, by: User) -> None:
    what = "Deciding who pays for an account"
    if not came_by_consent(account):
        require_over(account, by, what)
    elif pays_from == PaysFrom.PARENT:
        require_over(account, by, what)
        if not owns_itself(account, by) and not is_clerk(by):
            raise NotAllowed(
                f"{account} pays for itself unless its owner says otherwise: invite it anew with the offer to pay.",
                attr="pays_from",
            )
    elif not owns_itself(account, by):
        require_over(account, by, what)


def _require_mover(account: Account, parent: Account | None, by: User) -> None:
    above = account.parent
    if account.kind == AccountKind.PERSON and parent is None and above and above.role_of(by) == Role.OWNER:
        return
    require_role(account, by, Role.OWNER, "Moving an account")
    if parent is None:
        return
    require_role(parent, by, Role.MANAGER, "Taking in an account")
    if parent.role_of(by) is not None:
        refuse_own_gain(account, by, Role.OWNER)
    if owns_itself(account, by) or is_clerk(by) or not account.memberships.filter(role=Role.OWNER).exists():
        return
    owned = by.memberships.filter(account__in=account.ancestor_ids, role=Role.OWNER).values_list("account", flat=True)
    if not {parent.pk, *parent.ancestor_ids} & set(owned):
        raise NotAllowed(f"{account} has owners of its own; one of them moves it out of what is yours.", attr="parent")


def _return_hours(account: Account, hours: Balance, by: User) -> None:
    up = account.parent.payer() if account.parent is not None else None
    ledger.transfer(
        key=f"close:{account.pk}",
        kind="reclaim" if up else "expired",
        debit=hours,
        credit=hours_balance(up) if up else ledger.platform_balance(asset="GPU", kind="expired"),
        amount=hours.available,
        actor=str(by.pk),
        memo=f"{account} was closed"[:500],
        ref=account.owner_key,
    )


def _root_id(account: Account) -> UUID:
    return (account.ancestor_ids or [account.pk])[0]


def _height(account: Account) -> int:
    """Count the levels from the account, which is 1, down to the lowest below it."""
    slashes = Length("path") - Length(Replace("path", Value("/"), Value("")))
    deepest = Account.objects.under(account).aggregate(deepest=Max(slashes))["deepest"]
    return int(deepest) - 1 - (account.depth - 1)


def _rewrite(account: Account, parent: Account | None, by: User) -> None:
    old, new = account.path, f"{parent.path if parent else '/'}{account.pk}/"
    # Who hears of all below an account hears of what comes there.
    heard = {"is_listened": True} if parent is not None and parent.is_listened else {}
    Account.objects.filter(path__startswith=old).update(path=Concat(Value(new), Substr("path", len(old) + 1)), **heard)
    account.refresh_from_db()
    account.parent, account.pays_from = parent, account.pays_from if parent else PaysFrom.SELF
    changed_by(account, by).save(update_fields=["parent", "pays_from", "updated_at"])
