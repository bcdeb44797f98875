"""What the periods of contracts move. Each transfer's key is of contract, number and leg, so none happens twice.

The caller holds the contract's lock. Locks here: accounts (shared) → hold → balances → caps.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Min, Sum

from accounts.choices import PaysFrom
from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import Leg, capture, hold, open_balance, platform_balance, transfer
from accounts.models import Account
from accounts.services import PaysFromParent, hours_balance, spending_of, wallet_balance
from gaas.lib.ids import first_of
from payments.choices import RollOver
from payments.models import Contract, ContractPeriod
from payments.services.statements import SKEW

ALLOWANCE, ALLOWANCE_BACK = "allowance", "allowance_back"
RESERVED, RESERVATION, RESERVATION_FEE, LAPSE = "reserved", "reservation", "reservation_fee", "lapse"


def bucket_of(contract: Contract) -> Balance:
    """Give the reserved hours of a contract, made at first use."""
    return open_balance(asset="GPU", kind="reserved_hours", owner_key=contract.ref)


def left_of(contract: Contract) -> Balance | None:
    """Give the bucket of a reservation as it stands, None for an allowance; makes nothing."""
    if contract.is_allowance:
        return None
    found = Balance.objects.filter(asset="GPU", kind="reserved_hours", owner_key=contract.ref).first()
    return found or Balance(asset_id="GPU", kind="reserved_hours", owner_key=contract.ref)


def pay(period: ContractPeriod, *, now: datetime) -> None:
    """Move what a period gives and costs. Raises InsufficientBalance, BalanceFrozen, CapExceeded, PaysFromParent."""
    if period.contract.is_allowance:
        _allow(period)
    else:
        _reserve(period, now)


def _allow(period: ContractPeriod) -> None:
    contract = period.contract
    for account in (contract.payer, contract.payee):
        if account.pays_from == PaysFrom.PARENT:
            raise PaysFromParent(f"{account} spends what its parent has: an allowance would lie idle.")
    transfer(
        key=period.key(ALLOWANCE),
        kind=ALLOWANCE,
        debit=balance_of(contract.payer, period.terms.asset_id),
        credit=balance_of(contract.payee, period.terms.asset_id),
        amount=period.amount,
        ref=contract.ref,
        group=period.ref,
    )


def _reserve(period: ContractPeriod, now: datetime) -> None:
    """Pay the owner and the fee by a hold, which counts in the payer's caps as a task's does; then the hours."""
    contract = period.contract
    spending = spending_of(account=contract.payer, asset="USD", now=now)
    held = hold(
        balance=wallet_balance(spending.payer),
        amount=period.price,
        key=period.key("pay"),
        purpose="contract",
        ref=contract.ref,
        caps=spending.caps,
        spender=spending.spender,
    )
    earnings = open_balance(asset="USD", kind="earnings_pending", owner_key=contract.payee.owner_key)
    parts = [
        (earnings, period.owner_part, RESERVATION, "owner"),
        (platform_balance(asset="USD", kind="fees"), period.fee, RESERVATION_FEE, "fee"),
    ]
    legs = [
        Leg(credit=credit, amount=amount, kind=kind, key=period.key(leg), ref=contract.ref)
        for credit, amount, kind, leg in parts
        if amount
    ]
    capture(hold_id=held.pk, legs=legs, final=True)
    transfer(
        key=period.key("hours"),
        kind=RESERVED,
        debit=platform_balance(asset="GPU", kind="grant"),
        credit=bucket_of(contract),
        amount=period.amount,
        ref=contract.ref,
        group=period.ref,
    )


def unused(period: ContractPeriod, open_periods: list[ContractPeriod]) -> int:
    """Give what is left of the periods not closed yet, the last of which is `period`; what is held counts as used.

    Of an allowance whatever left the account since counts against it first: what is the account's own stays.
    """
    contract = period.contract
    if not contract.is_allowance:
        bucket = bucket_of(contract)
        return bucket.available
    balance = balance_of(contract.payee, period.terms.asset_id)
    keys = [row.key(ALLOWANCE) for row in open_periods]
    # By the database's clock: ids are made by servers' clocks, which differ. They only bound the walk of the index.
    since = Transfer.objects.filter(key__in=keys).aggregate(first=Min("created_at"))["first"]
    if since is None:
        return 0
    later = Transfer.objects.filter(debit=balance, created_at__gte=since, pk__gte=first_of(since - SKEW))
    # What another allowance took back was not spent either.
    gone = later.exclude(kind__in=[ALLOWANCE_BACK, LAPSE])
    spent = int(gone.aggregate(sum=Sum("amount"))["sum"] or 0) + balance.held
    return min(balance.available, max(0, sum(row.amount for row in open_periods) - spent))


def lapse(period: ContractPeriod, amount: int) -> None:
    """Take what was not used: back to the payer by the terms, else away. Raises BalanceFrozen, InsufficientBalance."""
    contract = period.contract
    goes_back = contract.is_allowance and period.terms.roll_over == RollOver.RETURN
    asset = period.terms.asset_id
    transfer(
        key=period.key(f"lapse:{period.lapsed}"),
        kind=ALLOWANCE_BACK if goes_back else LAPSE,
        debit=balance_of(contract.payee, asset) if contract.is_allowance else bucket_of(contract),
        credit=balance_of(contract.payer, asset) if goes_back else platform_balance(asset="GPU", kind="expired"),
        amount=amount,
        ref=contract.ref,
        group=period.ref,
    )


def balance_of(account: Account, asset: str) -> Balance:
    return hours_balance(account) if asset == "GPU" else wallet_balance(account)
