"""What a task holds and what it is charged: one pure object per funding. Integers only.

Formulas (the page docs/ledger.md): hours held = gpus × limit; money held = ceil(price × gpus × ms / 3 600 000)
at the task's price ceiling; charged = floor(price × gpu_ms / 3 600 000) per GPU at the price it was offered
at; fee = floor(charge × basis points / 10 000), the owner gets the rest. What is charged in parts comes to the same
in all: a part is the formula over all time up to its end, less the formula over all time up to its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from gaas.lib.amounts import MS_PER_HOUR


@dataclass(frozen=True)
class Usage:
    """Metered time of one GPU in one attempt. `payer_pays` is false where the platform was at fault.

    Of a task that is charged in parts, `from_ms` were charged before at this price, and this is part number `part`.
    """

    attempt_id: UUID
    gpu_id: UUID
    owner_account_id: UUID
    host_id: UUID
    gpu_ms: int
    price_per_hour: int
    payer_pays: bool = True
    from_ms: int = 0
    part: int = 0


@dataclass(frozen=True)
class Charged:
    """What one usage costs. `charge == fee + owner_part`; `from_loss` is paid by the platform instead."""

    usage: Usage
    gpu_ms: int
    charge: int
    fee: int
    owner_part: int
    from_loss: int


class FundingRule(Protocol):
    asset: str
    balance_kind: str
    shortage_code: str

    def to_hold(self, *, gpus: int, limit_ms: int, price_ceiling: int | None) -> int: ...

    def charge(self, usages: Iterable[Usage], *, held: int, fee_basis_points: int) -> list[Charged]: ...

    def captured(self, charged: Iterable[Charged]) -> int: ...


class QuotaFunding:
    """Hours of the quota: GPU-milliseconds move `hours → used`; owners are paid nothing."""

    asset = "GPU"
    balance_kind = "hours"
    shortage_code = "insufficient_quota"

    def to_hold(self, *, gpus: int, limit_ms: int, price_ceiling: int | None) -> int:
        return gpus * limit_ms

    def charge(self, usages: Iterable[Usage], *, held: int, fee_basis_points: int) -> list[Charged]:
        left, rows = held, []
        for usage in usages:
            if not usage.payer_pays:
                continue
            gpu_ms = min(usage.gpu_ms, left)
            left -= gpu_ms
            rows.append(Charged(usage, gpu_ms=gpu_ms, charge=0, fee=0, owner_part=0, from_loss=0))
        return rows

    def captured(self, charged: Iterable[Charged]) -> int:
        return sum(row.gpu_ms for row in charged)


class WalletFunding:
    """Money of the wallet: micro-dollars move `wallet → earnings_pending` and `wallet → fees`."""

    asset = "USD"
    balance_kind = "wallet"
    shortage_code = "insufficient_funds"

    def to_hold(self, *, gpus: int, limit_ms: int, price_ceiling: int | None) -> int:
        if price_ceiling is None:
            raise ValueError("a wallet task has a price ceiling")
        return -(-price_ceiling * gpus * limit_ms // MS_PER_HOUR)

    def charge(self, usages: Iterable[Usage], *, held: int, fee_basis_points: int) -> list[Charged]:
        left, rows = held, []
        for usage in usages:
            before = usage.price_per_hour * usage.from_ms // MS_PER_HOUR
            after = usage.price_per_hour * (usage.from_ms + usage.gpu_ms) // MS_PER_HOUR
            if usage.payer_pays:
                # A hold that is too small is never overdrawn; the fee is of what is charged.
                charge = min(after - before, left)
                left -= charge
                fee = (before + charge) * fee_basis_points // 10_000 - before * fee_basis_points // 10_000
                rows.append(Charged(usage, usage.gpu_ms, charge, fee, charge - fee, from_loss=0))
            else:
                fee = after * fee_basis_points // 10_000 - before * fee_basis_points // 10_000
                rows.append(Charged(usage, usage.gpu_ms, 0, 0, 0, from_loss=after - before - fee))
        return rows

    def captured(self, charged: Iterable[Charged]) -> int:
        return sum(row.charge for row in charged)


class ReservedFunding(QuotaFunding):
    """Hours of a contract's bucket: they move `reserved_hours → used`; the period's payment paid the owner."""

    balance_kind = "reserved_hours"
    shortage_code = "insufficient_reserved_hours"


RULES: dict[str, FundingRule] = {"quota": QuotaFunding(), "wallet": WalletFunding(), "reserved": ReservedFunding()}
