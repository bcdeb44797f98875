"""Bring contracts on: each step is one transaction that happens once, whoever takes it, however often it is killed."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Greatest

from accounts.ledger.services import BalanceFrozen, CapExceeded, InsufficientBalance, InvalidAmount
from accounts.models import Account
from accounts.services import PaysFromParent
from accounts.services.authority import AccountClosed, kept_in_place
from gaas.lib.amounts import show_micro
from gaas.lib.errors import DomainError
from gaas.lib.retry import retried
from gpus.models import Host
from payments.choices import (
    CONTRACT_RESTING,
    ContractStatus,
    PeriodStatus,
    Provider,
    Renewal,
    RollOver,
    Shortfall,
    Side,
)
from payments.contract_steps import Facts, Pause, next_step
from payments.models import Contract, ContractPause, ContractPeriod, ContractTerms
from payments.services.contract_legs import bucket_of, lapse, pay, unused
from payments.services.contract_letters import tell
from payments.services.reviews import ask

log = logging.getLogger("app")

BATCH = 500
# A pass must end before its actor is ended; what it does not reach, the next one does.
LONGEST_SECONDS = 20
# Of one contract in a pass: who has years to catch up keeps nobody waiting.
MOST_STEPS = 100
FIRST_WAIT = timedelta(minutes=1)
# What could not be closed, because tasks hold it or somebody froze it, is looked at again.
LOOK_AGAIN = timedelta(hours=6)

# What keeps a period from being paid, and may not tomorrow.
UNPAYABLE = (InsufficientBalance, BalanceFrozen, CapExceeded, InvalidAmount, PaysFromParent, AccountClosed)
# As both sides are told of it: what the payer has, what caps leave and who stands above is not the other's to know.
SAID: dict[type[DomainError], str] = {
    InsufficientBalance: "The payer has too little.",
    CapExceeded: "A cap on what the payer spends leaves too little.",
    AccountClosed: "An account that pays for it was closed.",
}


def tick_all(*, now: datetime) -> int:
    """Take the steps that are due of all contracts; give how many. May run any number of times at once."""
    began, steps = time.monotonic(), 0
    due = [*Contract.objects.due(now=now).values_list("pk", "due_at")[:BATCH]]
    due += Contract.objects.abandoned(now=now).values_list("pk", "due_at")[:BATCH]
    for contract_id, due_at in due:
        for _ in range(MOST_STEPS):
            if time.monotonic() - began >= LONGEST_SECONDS or not _ticks(contract_id, due_at, now):
                break
            steps += 1
    return steps


def _ticks(contract_id: UUID, due_at: datetime | None, now: datetime) -> bool:
    """Let one contract's trouble be its own: it is put off, so that those after it get their turn."""
    try:
        moved = tick(contract_id=contract_id, now=now)
    except DomainError as refusal:
        log.warning("contract %s: %s", contract_id, refusal.detail)
    except Exception:
        log.exception("contract %s could not be brought on", contract_id)
    else:
        Contract.objects.filter(pk=contract_id, faults__gt=0).update(faults=0)
        return moved
    _put_off(contract_id, due_at, now)
    return False


def _put_off(contract_id: UUID, due_at: datetime | None, now: datetime) -> None:
    """Look at a contract again after a minute, then two, and at last once in LOOK_AGAIN.

    Only where it is due as it was when this pass began: what somebody decided about it meanwhile is looked at at once.
    """
    faults = Contract.objects.values_list("faults", flat=True).get(pk=contract_id)
    wait = min(FIRST_WAIT * 2 ** min(faults, 20), LOOK_AGAIN)
    mine = Contract.objects.filter(pk=contract_id, due_at=due_at, faults=faults)
    mine.update(faults=min(faults + 1, 100), due_at=now + wait)


@retried
def tick(*, contract_id: UUID, now: datetime) -> bool:
    """Take the one step that a contract is due; give whether there was one, so that it is called again.

    One transaction: the contract's lock, its period's row, transfers with keys of (contract, number, leg), the next
    number. Locks: accounts (shared) → contract → hold → balances → caps.
    """
    contract = locked(contract_id)
    step = next_step(facts_of(contract), now)
    if step.what == "wait":
        if contract.due_at != step.until:
            _store(contract, due_at=step.until)
        return False
    _STEPS[step.what](contract, now)
    return True


def locked(contract_id: UUID) -> Contract:
    """Lock a contract after its accounts, and read all three anew."""
    sides = Contract.objects.filter(pk=contract_id).values_list("payer_id", "payee_id").get()
    accounts = kept_in_place(*sides)
    contract: Contract = Contract.objects.select_for_update(no_key=True, of=("self",)).get(pk=contract_id)
    contract.payer, contract.payee = accounts[contract.payer_id], accounts[contract.payee_id]
    return contract


def facts_of(contract: Contract) -> Facts:
    """Read what decides about a contract's next step."""
    terms = terms_for(contract, contract.next_no)
    return Facts(
        status=contract.status,
        next_no=contract.next_no,
        schedule=contract.schedule,
        end_no=None if terms is None else end_no(contract, terms),
        renews=terms is not None and terms.renewal == Renewal.RENEW,
        stop_no=contract.stop_no,
        pauses=tuple(Pause(row.from_at, row.until_at, row.catch_up) for row in contract.pauses.order_by("from_at")),
        open_until=_open_until(contract),
        retry_at=contract.retry_at,
        is_pointless=bool(_is_over(contract)),
    )


def terms_for(contract: Contract, no: int) -> ContractTerms | None:
    """Give the terms that are in force for a period: the last accepted that begin with it or before."""
    accepted = contract.terms.filter(effective_no__lte=no).select_related("asset")
    return accepted.order_by("version").last()


def terms_in_force(contract: Contract) -> ContractTerms:
    """Give the terms of the period that runs; before the first one those that it will have."""
    terms = terms_for(contract, max(0, contract.next_no - 1))
    if terms is None:
        raise ValueError(f"{contract.pk} was never agreed on.")
    return terms


def gives_hours(contract: Contract, *, now: datetime) -> bool:
    """Tell whether tasks may spend a reservation's hours: it runs, or has ended and its last period runs still."""
    return contract.is_running or _open_periods(contract).filter(ends_at__gt=now).exists()


def end_no(contract: Contract, terms: ContractTerms) -> int | None:
    """Give the first period that terms do not have, their renewals counted; None: they have no end."""
    if terms.ends_on is None:
        return None
    first = contract.schedule.first_on(terms.ends_on)
    return first + terms.renewals * max(1, first - (terms.effective_no or 0))


def _open(contract: Contract, now: datetime) -> None:
    """Process the period that is due: pay it, or say that it could not be paid."""
    if reason := _is_over(contract):
        _finish(contract, reason, now)
        return
    terms = _terms(contract)
    period = _period(contract, terms, PeriodStatus.PAID, now)
    try:
        with transaction.atomic():
            period.save(force_insert=True)
            pay(period, now=now)
    except UNPAYABLE as refusal:
        _short(contract, terms, SAID.get(type(refusal), refusal.detail), now)
        return
    _advance(contract, now)


def _is_over(contract: Contract) -> str:
    """Say why there is nothing to go on with; empty where there is."""
    for account in (contract.payer, contract.payee):
        if account.closed_at is not None:
            return f"{account} was closed."
    if contract.is_allowance and not contract.payee.path.startswith(contract.payer.path):
        return f"{contract.payee} does not stand below {contract.payer} any more."
    if not contract.is_allowance and one_purse(contract.payer, contract.payee):
        return f"{contract.payer} and {contract.payee} pay from one purse by now."
    return ""


def one_purse(payer: Account, payee: Account) -> bool:
    """Tell whether what a payer pays comes from the purse of who is paid, or of who spends for them."""
    return payer.payer().pk in (payee.pk, payee.payer().pk)


def _skip(contract: Contract, now: datetime, reason: str = "It fell into a pause.") -> None:
    period = _period(contract, _terms(contract), PeriodStatus.SKIPPED, now, reason)
    period.save(force_insert=True)
    _advance(contract, now)


def _advance(contract: Contract, now: datetime) -> None:
    _store(contract, next_no=contract.next_no + 1, tries=0, retry_at=None, trouble="")
    if contract.status == ContractStatus.PAST_DUE:
        contract.go_on(by=None, now=now, reason="The period that was past due is settled.")


def _short(contract: Contract, terms: ContractTerms, why: str, now: datetime) -> None:
    """Follow the terms where a period cannot be paid: leave it out, or try again and at last suspend."""
    no, day = contract.next_no, contract.schedule.day(contract.next_no)
    about = f"The period of {day:%Y-%m-%d} could not be paid. {why}"
    if terms.shortfall == Shortfall.SKIP:
        _skip(contract, now, reason=why)
        tell(contract, Side, what="a period was left out", detail=about, key=f"{no}:skipped", now=now)
        return
    wait = timedelta(seconds=settings.CONTRACT_RETRY_SECONDS)
    _store(contract, tries=contract.tries + 1, retry_at=now + wait, trouble=why)
    if contract.status == ContractStatus.PAUSED:
        return
    if contract.status == ContractStatus.ACTIVE:
        contract.fall_due(now=now, reason=about)
        tell(contract, Side, what="past due", detail=f"{about} It is tried again.", key=f"{no}:past_due", now=now)
    if contract.tries >= settings.CONTRACT_TRIES:
        # The period itself is covered too: whoever resumes decides by the terms whether it is caught up.
        from_at = contract.schedule.due(no) - timedelta(microseconds=1)
        ContractPause.objects.create(contract=contract, from_at=from_at, catch_up=terms.catch_up)
        contract.suspend(now=now, reason=f"{about} It was tried {contract.tries} times.")
        detail = f"{about} It is not tried again: the payer can resume the contract."
        tell(contract, Side, what="suspended", detail=detail, key=f"{no}:suspended", now=now)


def _close(contract: Contract, now: datetime) -> None:
    """Settle what the last paid period left: carry it on, let it lapse, or look again later."""
    rows = list(_open_periods(contract).select_related("terms__asset").order_by("no"))
    period = rows[-1]
    period.contract = contract
    for row in rows:
        row.contract = contract
    is_over = not contract.is_running
    lapses = period.terms.roll_over != RollOver.KEEP or (is_over and not contract.is_allowance)
    if contract.is_allowance and contract.payer.closed_at is not None:
        lapses = False
    if not contract.is_allowance and _owner_was_away(contract, rows[0].opened_at):
        if rows[0].carried < settings.CONTRACT_AWAY_PERIODS:
            # Nobody could use what was paid for: it is carried on for as long again.
            length = contract.schedule.due(period.no + 1) - contract.schedule.due(period.no)
            reason = "No host of the owner was seen in it: its hours stay."
            ContractPeriod.objects.filter(pk=rows[0].pk).update(carried=rows[0].carried + 1)
            carried_on = {"ends_at": now + length, "again_at": now + length}
            ContractPeriod.objects.filter(pk=period.pk).update(**carried_on, reason=reason, updated_at=now)
            return
        if lapses or contract.status not in CONTRACT_RESTING:
            _ask_for_refund(contract, rows)
        if contract.is_running and contract.status not in CONTRACT_RESTING:
            # Nothing more is paid to who is gone; what is left lapses with the next step.
            _finish(contract, f"No host of {contract.payee} was seen since {rows[0].opened_at:%Y-%m-%d}.", now)
            return
    if lapses and (amount := unused(period, rows)):
        try:
            with transaction.atomic():
                lapse(period, amount)
        except (BalanceFrozen, InsufficientBalance) as refusal:
            _look_again(period, refusal.detail, now)
            return
        ContractPeriod.objects.filter(pk=period.pk).update(lapsed=period.lapsed + amount, updated_at=now)
    if is_over and not contract.is_allowance and bucket_of(contract).held:
        _look_again(period, "It is over; what tasks still hold of it lapses when they give it back.", now)
        return
    _open_periods(contract).update(closed_at=now, updated_at=now)


def _look_again(period: ContractPeriod, why: str, now: datetime) -> None:
    """Close a period later; it stays over."""
    mine = ContractPeriod.objects.filter(pk=period.pk)
    mine.update(again_at=now + LOOK_AGAIN, reason=why, updated_at=now)


def _ask_for_refund(contract: Contract, rows: list[ContractPeriod]) -> None:
    """Have staff decide about the price of periods in which the owner was never there; once for the first of them."""
    price, since = sum(row.price for row in rows), f"{rows[0].opened_at:%Y-%m-%d}"
    ask(
        key=f"{contract.ref}:owner_gone:{rows[0].no}",
        provider=Provider.MANUAL,
        code="owner_gone",
        detail=f"No host of {contract.payee} was seen since {since}; {contract.payer} paid {show_micro(price)} USD.",
        facts={
            "contract": str(contract.pk),
            "payer": str(contract.payer_id),
            "payee": str(contract.payee_id),
            "periods": [row.no for row in rows],
            "price_microusd": price,
        },
        payment=None,
    )


def _owner_was_away(contract: Contract, since: datetime) -> bool:
    return not Host.objects.filter(account=contract.payee_id, last_sync_at__gte=since).exists()


def _renew(contract: Contract, now: datetime) -> None:
    terms = _terms(contract)
    ContractTerms.objects.filter(pk=terms.pk).update(renewals=terms.renewals + 1, updated_at=now)
    detail = (
        f"Its term was over, and another one of the same length began on {contract.schedule.day(contract.next_no)}."
    )
    contract.note(by=None, reason=detail, now=now)
    tell(contract, Side, what="renewed", detail=detail, key=f"{contract.next_no}:renewed", now=now)


def _end(contract: Contract, now: datetime) -> None:
    _finish(contract, _is_over(contract) or "Its end was reached.", now)


def _finish(contract: Contract, reason: str, now: datetime) -> None:
    contract.terms.filter(effective_no__isnull=True, declined_at__isnull=True).update(declined_at=now, updated_at=now)
    end_pause(contract, now)
    contract.end(by=None, now=now, reason=reason)
    if not contract.is_allowance and bucket_of(contract).posted and not _open_periods(contract).exists():
        # What was carried on, and what tasks hold still, goes the way of the last period once more.
        paid = contract.periods.filter(status=PeriodStatus.PAID)
        ContractPeriod.objects.filter(pk__in=paid.order_by("-no").values("pk")[:1]).update(
            closed_at=None, ends_at=now, again_at=None, updated_at=now
        )
    tell(contract, Side, what="ended", detail=f"It has ended. {reason}", key="ended", now=now)


def end_pause(contract: Contract, now: datetime) -> None:
    """End the pause that lasts; by a clock that was set back it ends as it began."""
    contract.pauses.filter(until_at__isnull=True).update(until_at=Greatest("from_at", Value(now)), updated_at=now)


def _terms(contract: Contract) -> ContractTerms:
    terms = terms_for(contract, contract.next_no)
    if terms is None:
        raise ValueError(f"{contract.pk} runs without terms.")
    return terms


def _period(
    contract: Contract, terms: ContractTerms, status: PeriodStatus, now: datetime, reason: str = ""
) -> ContractPeriod:
    no, is_paid = contract.next_no, status == PeriodStatus.PAID
    due, until = contract.schedule.due(no), contract.schedule.due(no + 1)
    # What comes late lasts as long as what comes in time.
    ends_at = until if now < until else now + (until - due)
    return ContractPeriod(
        contract=contract,
        no=no,
        terms=terms,
        status=status,
        reason=reason,
        due_at=due,
        opened_at=now,
        ends_at=ends_at if is_paid else None,
        closed_at=None if is_paid else now,
        amount=terms.amount if is_paid else 0,
        price=terms.price if is_paid else 0,
        fee=terms.fee if is_paid else 0,
        owner_part=terms.price - terms.fee if is_paid else 0,
    )


def _open_periods(contract: Contract) -> QuerySet[ContractPeriod]:
    return ContractPeriod.objects.filter(contract=contract, closed_at__isnull=True)


def _open_until(contract: Contract) -> datetime | None:
    """Give when all that is open is closed at once: what came late has its time too, what was carried on had it."""
    rows = list(_open_periods(contract).order_by("no"))
    in_full = (row.again_at or row.ends_at for row in rows if row.again_at is None or row is rows[-1])
    return max((moment for moment in in_full if moment is not None), default=None)


def _store(contract: Contract, **fields: object) -> None:
    """Write fields of a locked contract."""
    Contract.objects.filter(pk=contract.pk).update(**fields)
    for name, value in fields.items():
        setattr(contract, name, value)


_STEPS = {"open": _open, "skip": _skip, "close": _close, "renew": _renew, "end": _end}
