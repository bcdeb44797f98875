"""The ledger's verbs. Nothing else writes its rows.

Each is one transaction, keyword-only, with amounts as positive integers of the asset (GPU-milliseconds
or micro-dollars), and may be repeated: the natural key, or the hold itself, tells what was done before.
"""

from accounts.ledger.services.balances import close, freeze, open_balance, platform_balance
from accounts.ledger.services.caps import open_cap, set_limit, tighten
from accounts.ledger.services.captures import Leg, capture
from accounts.ledger.services.errors import (
    AssetMismatch,
    BalanceFrozen,
    CapExceeded,
    HoldClosed,
    HoldExceeded,
    InsufficientBalance,
    InvalidAmount,
    KeyReused,
    NotReversible,
)
from accounts.ledger.services.holds import expire, extend, hold, release
from accounts.ledger.services.snapshots import NotSettled, take_snapshot
from accounts.ledger.services.transfers import reverse, transfer

__all__ = [
    "AssetMismatch",
    "BalanceFrozen",
    "CapExceeded",
    "HoldClosed",
    "HoldExceeded",
    "InsufficientBalance",
    "InvalidAmount",
    "KeyReused",
    "Leg",
    "NotReversible",
    "NotSettled",
    "capture",
    "close",
    "expire",
    "extend",
    "freeze",
    "hold",
    "open_balance",
    "open_cap",
    "platform_balance",
    "release",
    "reverse",
    "set_limit",
    "take_snapshot",
    "tighten",
    "transfer",
]
