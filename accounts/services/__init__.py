"""What this app does across its tables and the ledger.

Log-ins stand apart in accounts.services.tokens: its library wants SECRET_KEY at import, which a command
that only collects files does not have.
"""

from accounts.services.allowances import MoreThanGiven, fund, given, reclaim, require_sharing
from accounts.services.authority import AccountMoved, require_open
from accounts.services.caps import (
    Spending,
    add_standing,
    cap_refusal,
    explain_cap,
    remove_cap,
    remove_threshold,
    set_cap,
    set_threshold,
    spending_of,
    thresholds_over,
)
from accounts.services.hours import (
    AccountBalances,
    PaysFromParent,
    TooManyHours,
    balances_of,
    balances_of_each,
    grant_hours,
    hours_balance,
    open_personal_account,
    wallet_balance,
)
from accounts.services.members import (
    BadInvitation,
    accept_invitation,
    add_member,
    change_role,
    find_invitation,
    invite,
    remove_member,
    revoke_invitation,
)
from accounts.services.organisations import (
    OpenHolds,
    change_account,
    close_account,
    create_account,
    create_child,
    move_account,
    rename_account,
    set_pays_from,
)
from accounts.services.quota_requests import approve_quota_request, reject_quota_request, request_quota
from accounts.services.register import BadKey, RegistrationClosed, WeakPassword, register, verify_email

__all__ = [
    "AccountBalances",
    "AccountMoved",
    "BadInvitation",
    "BadKey",
    "MoreThanGiven",
    "OpenHolds",
    "PaysFromParent",
    "RegistrationClosed",
    "Spending",
    "TooManyHours",
    "WeakPassword",
    "accept_invitation",
    "add_member",
    "add_standing",
    "approve_quota_request",
    "balances_of",
    "balances_of_each",
    "cap_refusal",
    "change_account",
    "change_role",
    "close_account",
    "create_account",
    "create_child",
    "explain_cap",
    "find_invitation",
    "fund",
    "given",
    "grant_hours",
    "hours_balance",
    "invite",
    "move_account",
    "open_personal_account",
    "reclaim",
    "register",
    "reject_quota_request",
    "remove_cap",
    "remove_member",
    "remove_threshold",
    "rename_account",
    "request_quota",
    "require_open",
    "require_sharing",
    "revoke_invitation",
    "set_cap",
    "set_pays_from",
    "set_threshold",
    "spending_of",
    "thresholds_over",
    "verify_email",
    "wallet_balance",
]
