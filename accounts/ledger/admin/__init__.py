"""The books, to be looked at. Nobody changes them here."""

from accounts.ledger.admin import balances, caps, checks, holds, transfers

__all__ = ["balances", "caps", "checks", "holds", "transfers"]
