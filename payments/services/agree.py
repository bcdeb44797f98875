"""Make contracts: propose terms, accept them, decline them. Nothing here moves hours or money."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from accounts.choices import PaysFrom
from accounts.models import Account, User
from accounts.services import PaysFromParent, require_open, thresholds_over
from accounts.services.authority import require_over
from gaas.lib.amounts import parse_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed, NotFound
from gaas.lib.retry import retried
from gpus.models import GPU
from payments.choices import CatchUp, ContractKind, ContractStatus, Interval, Renewal, RollOver, Shortfall, Side
from payments.models import Contract, ContractEvent, ContractTerms
from payments.schedule import FIRST_DAY, LAST_DAY, Schedule, today, zones
from payments.services.contract_letters import sides_of, tell
from payments.services.contract_tick import end_no, locked, one_purse, terms_for

# Far above any use, and what keeps sums far from the end of 64 bits.
MOST = 10**15


class BadTerms(DomainError):
    """State that a contract cannot be kept as it is written."""

    code = "invalid_terms"


class TermsChanged(Conflict):
    """State that other terms are on the table than those that somebody says yes or no to."""

    code = "terms_changed"


@dataclass(frozen=True)
class TermsWanted:
    """`amount` a period in GPU-milliseconds or micro-dollars by `asset`, `price` in micro-dollars."""

    asset: str
    amount: int
    price: int = 0
    gpu_model: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ends_on: date | None = None
    renewal: str = Renewal.NONE
    shortfall: str = Shortfall.RETRY
    roll_over: str = RollOver.KEEP
    catch_up: str = CatchUp.SKIP


@dataclass(frozen=True)
class ContractWanted:
    """Between whom, and when. `anchor_on` None: the day it starts on."""

    kind: str
    title: str
    payer: Account
    payee: Account
    starts_on: date | None = None
    anchor_on: date | None = None
    interval: str = Interval.MONTH
    time_zone: str = "UTC"
    is_draft: bool = False


@retried
def create_contract(wanted: ContractWanted, terms: TermsWanted, *, by: User, now: datetime) -> Contract:
    """Write a contract and, unless it is a draft, send it to the other side; its maker's side has accepted.

    Raises NotAllowed for who may act for neither side, BadTerms, AccountClosed, PaysFromParent, NotFound for an
    owner who offers the payer no such GPUs.
    """
    if wanted.time_zone not in zones():
        raise BadTerms('Name a time zone such as "Europe/Berlin".', attr="time_zone")
    starts_on = wanted.starts_on or today(now, wanted.time_zone)
    contract = Contract(
        kind=wanted.kind,
        title=wanted.title,
        payer=wanted.payer,
        payee=wanted.payee,
        created_by=by,
        anchor_on=wanted.anchor_on or starts_on,
        interval=wanted.interval,
        time_zone=wanted.time_zone,
        starts_on=starts_on,
    )
    _check_sides(contract)
    side = _own_side(contract, by)
    _check_days(contract, now)
    _check_terms(contract, terms)
    if side == Side.PAYER:
        _check_signature(contract, terms, by)
    contract.save(force_insert=True)
    ContractEvent.note(contract.pk, new=contract.status, by=by, reason="Drafted.", now=now)
    version = _write(contract, terms, by=by, side=side, now=now)
    if not wanted.is_draft:
        contract.propose(by=by, now=now)
        _ask(contract, version, now)
    return contract


@retried
def propose_terms(*, contract_id: UUID, terms: TermsWanted, by: User, now: datetime) -> Contract:
    """Put other terms on the table; whoever proposes has accepted them, what lay there before is off.

    A draft is sent by this. Terms of a contract that runs go on until both sides accepted the new ones, and then to
    the end of the period that runs. Raises NotAllowed, BadTerms, Conflict for one that is over.
    """
    contract = locked(contract_id)
    side = _own_side(contract, by)
    _require_alive(contract)
    if contract.status == ContractStatus.DRAFT and contract.created_by_id != by.pk:
        raise Conflict("This is a draft of somebody else; wait until it is sent.")
    _check_terms(contract, terms)
    if contract.is_running and contract.terms.filter(effective_no=0).exclude(asset=terms.asset).exists():
        attr = "hours" if terms.asset == "GPU" else "amount_usd"
        raise BadTerms("What gives hours cannot give money from now on, nor money hours: make another.", attr=attr)
    if side == Side.PAYER:
        _check_signature(contract, terms, by)
    contract.terms.filter(effective_no__isnull=True, declined_at__isnull=True).update(declined_at=now, updated_at=now)
    version = _write(contract, terms, by=by, side=side, now=now)
    if contract.status == ContractStatus.DRAFT:
        contract.propose(by=by, now=now)
    else:
        contract.note(by=by, reason=f"Terms {version.version} were proposed.", now=now)
    _ask(contract, version, now)
    return contract


@retried
def accept_terms(*, contract_id: UUID, version: int, by: User, now: datetime) -> Contract:
    """Say yes to one version of the terms; the second yes makes it binding.

    A contract begins with the first period that is due today or later, never in the past. Terms of one that runs
    take effect at the next period. Raises NotAllowed, TermsChanged, Conflict, BadTerms.
    """
    contract = locked(contract_id)
    mine = _own_sides(contract, by)
    _require_alive(contract)
    terms = _on_the_table(contract, version)
    missing = [side for side in mine if not terms.has_accepted(side)]
    if not missing or contract.status == ContractStatus.DRAFT:
        raise Conflict("Your side has accepted these terms before; the other side has to.")
    if Side.PAYER in missing:
        _check_signature(contract, terms, by)
    for side in missing:
        setattr(terms, f"{side}_accepted_by", by)
        setattr(terms, f"{side}_accepted_at", now)
    if all(terms.has_accepted(side) for side in Side):
        _bind(contract, terms, by=by, now=now)
    terms.save()
    if contract.is_open or terms.effective_no is None:
        contract.note(by=by, reason=f"The {missing[0].label.lower()} accepted terms {version}.", now=now)
    return contract


@retried
def decline(*, contract_id: UUID, by: User, now: datetime, reason: str, version: int | None = None) -> Contract:
    """Say no to what is on the table, or take it back. A contract that runs goes on as it is.

    Raises NotAllowed, TermsChanged, Conflict where nothing waits for a yes.
    """
    contract = locked(contract_id)
    mine = _own_sides(contract, by)
    _require_alive(contract)
    terms = _on_the_table(contract, version)
    terms.declined_at = now
    terms.save(update_fields=["declined_at", "updated_at"])
    if contract.is_open:
        contract.decline(by=by, now=now, reason=reason)
    else:
        contract.note(by=by, reason=f"Terms {terms.version} were declined. {reason}".strip(), now=now)
    detail = f"Terms {terms.version} were declined. {reason}".strip()
    others = [side for side in Side if side not in mine]
    tell(contract, others, what="declined", detail=detail, key=f"v{terms.version}:declined", now=now)
    return contract


def owners_offering_to(payer: Account) -> QuerySet:
    """Give the ids of accounts that offer GPUs which a payer's tasks may use."""
    return GPU.objects.listed().usable_by(payer).order_by().values("host__account")


def _bind(contract: Contract, terms: ContractTerms, *, by: User, now: datetime) -> None:
    _check_sides(contract)
    if contract.is_open:
        plain = Schedule(contract.anchor_on, contract.interval, contract.time_zone)
        first = plain.first_on(max(contract.starts_on, today(now, contract.time_zone)))
        contract.first_index = first
        terms.effective_no = 0
        if (end := end_no(contract, terms)) is not None and end <= 0:
            raise BadTerms("By now its end comes before its first period: propose a later one.", attr="ends_on")
        contract.activate(by=by, now=now, first_index=first)
        begins = contract.schedule.day(0)
    else:
        no = max(contract.next_no, contract.schedule.first_after(now))
        terms.effective_no = no
        before = terms_for(contract, no)
        ends = [end_no(contract, before) if before and before.renewal == Renewal.NONE else None, contract.stop_no]
        if any(end is not None and end < no for end in ends):
            raise Conflict("This contract ends before these terms would begin. Make a new one.")
        if contract.stop_no is not None and contract.stop_no <= no:
            raise Conflict("This contract was cancelled and ends with the period that runs. Make a new one.")
        if (end := end_no(contract, terms)) is not None and end <= no:
            raise BadTerms("Their end comes before they would begin: propose a later one.", attr="ends_on")
        contract.note(by=by, reason=f"Both sides accepted terms {terms.version}.", now=now)
        Contract.objects.filter(pk=contract.pk).update(due_at=now)
        contract.due_at = now
        begins = contract.schedule.day(no)
    detail = f"Both sides accepted terms {terms.version}. They begin on {begins}."
    tell(contract, Side, what="accepted", detail=detail, key=f"v{terms.version}:accepted", now=now)


def _write(contract: Contract, terms: TermsWanted, *, by: User, side: Side, now: datetime) -> ContractTerms:
    row = ContractTerms(
        contract=contract,
        version=contract.terms.count() + 1,
        asset_id=terms.asset,
        amount=terms.amount,
        price=terms.price,
        fee_basis_points=0 if contract.is_allowance else parse_micro(settings.PLATFORM_FEE_PERCENT) // 10_000,
        gpu_model=terms.gpu_model,
        labels=terms.labels,
        ends_on=terms.ends_on,
        renewal=terms.renewal,
        shortfall=terms.shortfall,
        roll_over=terms.roll_over,
        catch_up=terms.catch_up,
        proposed_by=by,
        proposed_side=side,
    )
    setattr(row, f"{side}_accepted_by", by)
    setattr(row, f"{side}_accepted_at", now)
    row.save(force_insert=True)
    return row


def _ask(contract: Contract, terms: ContractTerms, now: datetime) -> None:
    others = [side for side in Side if not terms.has_accepted(side)]
    detail = f"Terms {terms.version} were proposed by {terms.proposed_by}. They wait for your yes or no."
    tell(contract, others, what="terms to accept", detail=detail, key=f"v{terms.version}:asked", now=now)


def _on_the_table(contract: Contract, version: int | None) -> ContractTerms:
    waiting = contract.terms.filter(effective_no__isnull=True, declined_at__isnull=True).select_related("asset").first()
    if waiting is None:
        raise Conflict("No terms wait for a yes or no.")
    if version is not None and waiting.version != version:
        raise TermsChanged(f"By now terms {waiting.version} are on the table: read them first.", attr="version")
    return waiting


def _own_sides(contract: Contract, by: User) -> list[Side]:
    mine = sides_of(contract, by)
    if not mine:
        who = "a manager" if contract.is_allowance else "an owner"
        raise NotAllowed(f"This takes the role of {who} of {contract.payer} or of {contract.payee}.")
    return mine


def _own_side(contract: Contract, by: User) -> Side:
    """Give the side for which somebody proposes: the payer's, if both are theirs."""
    return _own_sides(contract, by)[0]


def _require_alive(contract: Contract) -> None:
    if not (contract.is_open or contract.is_running):
        raise Conflict(f"This contract is {contract.get_status_display().lower()}.", attr="status")


def _check_sides(contract: Contract) -> None:
    payer, payee = contract.payer, contract.payee
    if payer.pk == payee.pk or (not contract.is_allowance and one_purse(payer, payee)):
        raise BadTerms("A contract is between two accounts that do not pay from one purse.", attr="payee")
    for account in (payer, payee):
        require_open(account)
    if not contract.is_allowance:
        if not owners_offering_to(payer).filter(host__account=payee).exists():
            raise NotFound("No such account, or it offers no GPUs to the payer.", attr="payee")
        return
    if not payee.path.startswith(payer.path):
        raise BadTerms(f"An allowance goes to an account below; {payee} does not stand below {payer}.", attr="payee")
    for account, attr in ((payer, "payer"), (payee, "payee")):
        if account.pays_from == PaysFrom.PARENT:
            raise PaysFromParent(f"{account} spends what its parent has: an allowance would lie idle.", attr=attr)


def _check_signature(contract: Contract, terms: TermsWanted | ContractTerms, by: User) -> None:
    """Let nobody sign for more than their account may spend unasked but who could lift that threshold.

    Nor by a key with a cap on what a period costs: the cap counts what is held through the key, not what a contract
    pays each month from then on.
    """
    for threshold in thresholds_over(account=contract.payer, asset="USD", amount=terms.price):
        require_over(
            threshold.account, by, f"Agreeing to more than {threshold.show(threshold.above)} for {threshold.account}"
        )
    asset = "USD" if terms.price else terms.asset if isinstance(terms, TermsWanted) else terms.asset_id
    if by.through is not None and by.through.cap_of(asset) is not None:
        raise NotAllowed("This key has a cap, which a contract would pass by: agree to it without the key.")


def _check_days(contract: Contract, now: datetime) -> None:
    if contract.starts_on < today(now, contract.time_zone):
        raise BadTerms("A contract does not start in the past.", attr="starts_on")
    for attr in ("starts_on", "anchor_on"):
        if not FIRST_DAY <= getattr(contract, attr) < LAST_DAY:
            raise BadTerms(f"Give a day from {FIRST_DAY} on and before {LAST_DAY}.", attr=attr)


def _check_terms(contract: Contract, terms: TermsWanted) -> None:
    is_hours = terms.asset == "GPU"
    for attr, amount, least in (
        ("hours" if is_hours else "amount_usd", terms.amount, 1),
        ("price_usd", terms.price, 0),
    ):
        if isinstance(amount, bool) or not isinstance(amount, int) or not least <= amount <= MOST:
            raise BadTerms("Give more than nothing, and no more than can be counted.", attr=attr)
    if contract.kind == ContractKind.ALLOWANCE:
        if terms.price:
            raise BadTerms("An allowance costs nothing: leave it out.", attr="price_usd")
        if terms.gpu_model or terms.labels:
            raise BadTerms(
                "An allowance is not of certain GPUs: leave it out.", attr="gpu_model" if terms.gpu_model else "labels"
            )
        if not is_hours and terms.roll_over == RollOver.EXPIRE:
            raise BadTerms("Money does not lapse: carry it over or let it go back.", attr="roll_over")
    else:
        if not is_hours:
            raise BadTerms("A reservation is of hours.", attr="amount_usd")
        if not terms.price:
            raise BadTerms("A reservation has a price.", attr="price_usd")
        if terms.roll_over == RollOver.RETURN:
            raise BadTerms(
                "Reserved hours were paid for and do not go back: carry them over or let them lapse.", attr="roll_over"
            )
    if terms.ends_on is None:
        if terms.renewal == Renewal.RENEW:
            raise BadTerms("What has no end is not renewed: give `ends_on`.", attr="renewal")
        return
    if terms.ends_on >= LAST_DAY:
        raise BadTerms(f"Give a day before {LAST_DAY}.", attr="ends_on")
    plain = Schedule(contract.anchor_on, contract.interval, contract.time_zone)
    first = max(contract.starts_on, FIRST_DAY)
    if terms.ends_on <= first or plain.first_on(terms.ends_on) <= plain.first_on(first):
        raise BadTerms("It ends before its first period begins.", attr="ends_on")
