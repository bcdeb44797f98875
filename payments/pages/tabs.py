"""What stands beside an account's own tabs: one line a page."""

from __future__ import annotations

from accounts.pages import tabs
from payments.pages.earnings import has_earnings


def register() -> None:
    """Put the pages of this app above those of accounts; `ready()` calls it once."""
    tabs.register("account_wallet", "Wallet")
    tabs.register("account_earnings", "Earnings", shown=has_earnings)
    tabs.register("account_contracts", "Contracts")
    tabs.register("account_reports", "Usage")
    tabs.register("account_statements", "Statements")
