"""Why the ledger refuses. Each is one stable code that docs/errors.md lists."""

from __future__ import annotations

from accounts.ledger.models import Asset, Cap
from gaas.lib.errors import Conflict, DomainError


class InvalidAmount(DomainError):
    """Refuse an amount that is no whole number from 1 to LIMIT − 1, or that would burst a balance."""

    code = "invalid_amount"


class HoldExceeded(InvalidAmount):
    """Refuse to capture or release more than a hold has open."""

    code = "hold_exceeded"


class AssetMismatch(DomainError):
    """Refuse a transfer between hours and money, or between two currencies."""

    code = "asset_mismatch"


class InsufficientBalance(DomainError):
    """Refuse because what is available does not cover what is needed; both in the asset's integers."""

    code = "insufficient_balance"
    depends_on_state = True

    def __init__(self, *, asset: Asset, needed: int, available: int) -> None:
        super().__init__(
            f"This needs {asset.show(needed)}, but only {asset.show(available)} are available.",
        )
        self.asset = asset.code
        self.needed = needed
        self.available = available


class CapExceeded(DomainError):
    """Refuse because a cap of the account or of one above it has too little left in its period."""

    code = "cap_exceeded"
    depends_on_state = True

    def __init__(self, *, cap: Cap, needed: int, detail: str = "") -> None:
        super().__init__(
            detail
            or f"This needs {cap.asset.show(needed)}, but the cap until {cap.ends_at:%Y-%m-%d %H:%M} UTC leaves "
            f"{cap.asset.show(cap.left)}. Ask for less, or have it raised.",
        )
        self.cap = cap
        self.asset = cap.asset_id
        self.needed = needed
        self.left = cap.left
        self.owner_key = cap.owner_key


class BalanceFrozen(Conflict):
    """Refuse to move what staff froze, or to use a balance that was closed."""

    code = "balance_frozen"


class HoldClosed(Conflict):
    """Refuse to change a hold that was captured, released or ran out before."""

    code = "hold_closed"


class KeyReused(Conflict):
    """Refuse a natural key that stands for another movement already."""

    code = "key_reused"


class NotReversible(Conflict):
    """Refuse to reverse a transfer twice, or to reverse a reversal: make a new transfer instead."""

    code = "not_reversible"
