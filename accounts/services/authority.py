"""Who may do what with an account, and the locks under which the answer stays true."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from accounts import sql
from accounts.choices import PaysFrom, Role
from accounts.models import Account, User
from gaas.lib.errors import Conflict, NotAllowed


class AccountClosed(Conflict):
    """State that the account takes part in nothing any more."""

    code = "account_closed"


class AccountMoved(Conflict):
    """State that the account's place changed while the call was under way."""

    def __init__(self, account: Account) -> None:
        super().__init__(f"{account} was moved or changed by somebody at this moment; try again.")


def is_clerk(by: User) -> bool:
    """Tell whether this is staff who put accounts right for others: roles, caps, names; never their hours."""
    return bool(by.is_staff and by.has_perm("accounts.change_account"))


def require_role(account: Account, by: User, least: Role, what: str) -> None:
    """Raise NotAllowed unless the user has this role here, or is staff who may change accounts."""
    role = account.role_of(by)
    if (role is None or role < least) and not is_clerk(by):
        article = "an" if least == Role.OWNER else "a"
        raise NotAllowed(f"{what} takes the role of {article} {least.label.lower()} of {account}.")


def refuse_own_gain(account: Account, by: User, least: Role) -> None:
    """Raise NotAllowed for staff who would get by their permission what no role here gives them.

    Whoever may put others' roles right could else reach any account's hours in two steps; a superuser may anyway.
    """
    role = account.role_of(by)
    if (role is None or role < least) and not by.is_superuser:
        raise NotAllowed("Staff put accounts right for others, not for themselves: ask one of your colleagues.")


def require_spending(account: Account, by: User, least: Role, what: str) -> None:
    """Do as require_role for what spends from the account or lets others do so; see Account.spending_role_of."""
    role = account.spending_role_of(by)
    if (role is None or role < least) and not is_clerk(by):
        raise NotAllowed(f"{what} is for whom {account} lets in itself: it is a person's own account.")


def require_over(account: Account, by: User, what: str) -> None:
    """Raise NotAllowed unless the user manages an account above this one, or owns it where none is above.

    Whoever manages a child alone must not lift what its parents asked of it.
    """
    if account.parent is None:
        require_role(account, by, Role.OWNER, what)
    else:
        require_role(account.parent, by, Role.MANAGER, what)


def require_open(account: Account) -> None:
    if account.closed_at is not None:
        raise AccountClosed(f"{account} was closed on {account.closed_at:%Y-%m-%d}. Use another account.")


def kept_lineage(account: Account) -> list[Account]:
    """Give the account and all above it as they are now, the root first, kept in place by a shared lock.

    Raises AccountMoved where it is elsewhere by now, AccountClosed. Locks: accounts by ascending id.
    """
    wanted = [*account.ancestor_ids, account.pk]
    found = {row.pk: row for row in sql.keep_in_place(wanted)}
    here = found.get(account.pk)
    if here is None or here.path != account.path:
        raise AccountMoved(account)
    require_open(here)
    return [found[pk] for pk in wanted]


def kept_in_place(*accounts: UUID) -> dict[UUID, Account]:
    """Give accounts as they are now, kept in place by a shared lock. Locks: accounts by ascending id."""
    return {row.pk: row for row in sql.keep_in_place(sorted(accounts))}


def payer_among(lineage: list[Account]) -> Account:
    """Do as Account.payer by rows that were read before, the root first."""
    return next(row for row in reversed(lineage) if row.pays_from == PaysFrom.SELF or row.parent_id is None)


def locked_in_place(account: Account) -> Account:
    """Lock an account whose place was looked at for who may. Raises AccountMoved where it is elsewhere by now."""
    here = locked(account)[0]
    if here.path != account.path:
        raise AccountMoved(account)
    return here


def locked_in_family(account: Account) -> Account:
    """Lock an account with all above and below it, against each other and who moves there. Raises AccountMoved.

    Spenders are not kept waiting. Locks: accounts by ascending id.
    """
    family = Q(pk__in=account.ancestor_ids) | Q(path__startswith=account.path)
    rows = Account.objects.filter(family).order_by("pk").select_for_update(of=("self",), no_key=True)
    here = next((row for row in rows if row.pk == account.pk), None)
    if here is None or here.path != account.path:
        raise AccountMoved(account)
    return here


def locked(*accounts: Account) -> list[Account]:
    """Lock accounts for who moves, caps or closes them, and read them anew; in the order given.

    Locks: accounts by ascending id, against each other and against every spender below them.
    """
    ids = {account.pk for account in accounts}
    rows = {row.pk: row for row in Account.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")}
    return [rows[account.pk] for account in accounts]
