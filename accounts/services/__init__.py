"""What this app does across its tables and the ledger.

Log-ins stand apart in accounts.services.tokens: its library wants SECRET_KEY at import, which a command
that only collects files does not have.
"""

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
from accounts.services.quota_requests import approve_quota_request, reject_quota_request, request_quota
from accounts.services.register import BadKey, RegistrationClosed, WeakPassword, register, verify_email

__all__ = [
    "AccountBalances",
    "BadKey",
    "PaysFromParent",
    "RegistrationClosed",
    "TooManyHours",
    "WeakPassword",
    "approve_quota_request",
    "balances_of",
    "balances_of_each",
    "grant_hours",
    "hours_balance",
    "open_personal_account",
    "register",
    "reject_quota_request",
    "request_quota",
    "verify_email",
    "wallet_balance",
]
