"""What this app does across its tables and the ledger."""

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
from accounts.services.log_in import (
    LogInRefused,
    TokenPair,
    end_log_ins,
    forget_outlived_log_ins,
    live_log_in,
    log_in,
    log_out,
    open_log_in,
    refresh_log_in,
)
from accounts.services.quota_requests import approve_quota_request, reject_quota_request, request_quota
from accounts.services.register import RegistrationClosed, WeakPassword, register

__all__ = [
    "AccountBalances",
    "LogInRefused",
    "PaysFromParent",
    "RegistrationClosed",
    "TokenPair",
    "TooManyHours",
    "WeakPassword",
    "approve_quota_request",
    "balances_of",
    "balances_of_each",
    "end_log_ins",
    "forget_outlived_log_ins",
    "grant_hours",
    "hours_balance",
    "live_log_in",
    "log_in",
    "log_out",
    "open_log_in",
    "open_personal_account",
    "refresh_log_in",
    "register",
    "reject_quota_request",
    "request_quota",
    "wallet_balance",
]
