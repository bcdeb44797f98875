"""Make the statements of a month that has ended, and list what moved in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, Subquery, Sum

from accounts.ledger.models import Balance, Hold, Transfer
from accounts.ledger.sql import consistent_read, settled_before
from accounts.models import Account
from gaas.lib import clock
from gaas.lib.ids import first_of
from gaas.lib.retry import retried
from gaas.outbox import services as outbox
from gaas.outbox.choices import EventType
from gpus.models import HostDay
from gpus.services.reliability import KEPT_DAYS
from payments.choices import EARNING_KINDS, StatementKind
from payments.models import Charge, Statement, StatementBalance
from payments.models.statement import month_of
from payments.news import news_of_statement

BATCH = 200
PAGE = 500
# Ids of transfers are made by a server's clock, their moments by the database's: no two are this far apart.
SKEW = timedelta(days=2)

Moved = dict[UUID, tuple[int, int]]


class Line(NamedTuple):
    """One movement as one balance saw it; `amount` is negative where it went out."""

    id: UUID
    at: datetime
    balance: StatementBalance
    kind: str
    amount: int
    ref: str
    memo: str


class Movement(NamedTuple):
    """All movements of one kind of transfer on one balance: how many, what came, what went."""

    balance: StatementBalance
    kind: str
    transfers: int
    came: int
    went: int


def make_due(*, most: int = 24) -> int:
    """Make the statements of every month that has ended and has none; give how many months that were.

    A month is over when no transfer of it can come any more, which is seconds after its end, or when the last
    transaction that began in it has ended.
    """
    for made in range(most):
        month = next_due()
        if month is None:
            return made
        make_month(month)
    return most


def next_due() -> date | None:
    """Give the first day of the earliest month that has ended and has no statements; None while there is none."""
    last = Statement.objects.filter(kind=StatementKind.BOOKS).order_by("-month").first()
    if last is not None:
        begin = last.end
    else:
        first = Transfer.objects.order_by("created_at").values_list("created_at", flat=True).first()
        if first is None:
            return None
        begin = month_of(first.date())[0]
    with transaction.atomic():
        settled = settled_before()
    return begin.date() if month_of(begin.date())[1] <= settled else None


def make_month(month: date) -> None:
    """Make what is missing of a month's statements; months are made in their order, each once.

    1. Sum up what came to and went from each balance. 2. Batches of accounts, a transaction each: whoever is killed
    is followed by who makes the rest. 3. The platform's books, by which the month is done.
    """
    came, went = _moved_in(month)
    for kind in (StatementKind.ACCOUNT, StatementKind.OWNER):
        ids = sorted(_accounts_of(kind, month, {*came, *went}))
        for some in _batches(ids, BATCH):
            _make(kind, month, some, came, went)
    _make_books(month)


def lines_of(statement: Statement, balances: Iterable[StatementBalance]) -> Iterator[Line]:
    """List what moved, the oldest first, a page of each side of each balance in memory; a movement within is two."""
    bounds = (statement.begin, statement.end)
    sides = [_side(balance, side, sign, bounds) for balance in balances for side, sign in _sides(balance)]
    return merge(*sides, key=lambda line: line.id)


def movements_of(statement: Statement, balances: Iterable[StatementBalance]) -> list[Movement]:
    """Add up what moved by balance and kind of transfer."""
    by_id = {balance.balance_id: balance for balance in balances if balance.balance_id is not None}
    sums: dict[tuple[Any, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for place, side in ((1, "credit_id"), (2, "debit_id")):
        rows = _within(Transfer.objects.filter(**{f"{side}__in": list(by_id)}), statement.begin, statement.end)
        for balance_id, kind, amount, count in (
            rows.order_by().values_list(side, "kind").annotate(Sum("amount"), Count("pk"))
        ):
            sums[balance_id, kind][0] += count
            sums[balance_id, kind][place] += int(amount)
    found = [Movement(by_id[balance_id], kind, *three) for (balance_id, kind), three in sums.items()]
    return sorted(found, key=lambda row: (row.balance.asset_id, row.balance.kind, row.kind))


def so_far(*, account: Account, kind: str, now: datetime) -> tuple[Statement, list[StatementBalance]]:
    """Give the statement of the month that runs, as it would be if it ended now; nothing of it is stored."""
    statement = Statement(account=account, kind=kind, month=month_of(now.date())[0].date())
    lines = []
    with consistent_read():
        for balance in _balances_of(kind, [account.pk]).order_by("asset_id", "kind"):
            came, arrivals = _sum(_within(balance.credits.all(), statement.begin, None))
            went, departures = _sum(_within(balance.debits.all(), statement.begin, None))
            closing = balance.posted or 0
            lines.append(
                StatementBalance(
                    statement=statement,
                    balance=balance,
                    asset_id=balance.asset_id,
                    kind=balance.kind,
                    opening=closing - came + went,
                    came=came,
                    went=went,
                    closing=closing,
                    held=balance.held,
                    arrivals=arrivals,
                    departures=departures,
                )
            )
        if kind == StatementKind.OWNER:
            for name, value in _of_owners([account.pk], statement.begin, statement.end, now)[account.pk].items():
                setattr(statement, name, value)
    return statement, lines


NOTHING_SOLD = dict.fromkeys(("sold_ms", "lent_ms", "charged", "fee", "owner_part", "from_loss"), 0)


def _moved_in(month: date) -> tuple[Moved, Moved]:
    begin, end = month_of(month)
    rows = Transfer.objects.filter(created_at__gte=begin, created_at__lt=end).order_by()
    sides = []
    for side in ("credit_id", "debit_id"):
        summed = rows.values_list(side).annotate(Sum("amount"), Count("pk"))
        sides.append({pk: (int(amount), count) for pk, amount, count in summed.iterator()})
    return sides[0], sides[1]


def _accounts_of(kind: str, month: date, balance_ids: set[UUID]) -> set[UUID]:
    """Name the accounts of which something moved; an owner also by what was charged on their GPUs."""
    found = set()
    for some in _batches(sorted(balance_ids), PAGE):
        keys = _of_kind(kind, Balance.objects.filter(pk__in=some)).values_list("owner_key", flat=True)
        found |= {UUID(key.removeprefix("acct:")) for key in keys}
    if kind == StatementKind.OWNER:
        charges = Charge.objects.within(*month_of(month)).order_by()
        found |= set(charges.values_list("owner_account_id", flat=True).distinct())
    return found


@retried
def _make(kind: str, month: date, ids: list[UUID], came: Moved, went: Moved) -> None:
    """Make the statements of some accounts; of two who do so at once the later finds them made."""
    made = Statement.objects.filter(kind=kind, month=month, account__in=ids).values_list("account", flat=True)
    wanted = Account.objects.filter(pk__in=set(ids) - set(made)).in_bulk()
    begin, end = month_of(month)
    facts = _of_owners(list(wanted), begin, end, clock.now()) if kind == StatementKind.OWNER else {}
    statements = {
        pk: Statement(kind=kind, account=account, month=month, **facts.get(pk, {})) for pk, account in wanted.items()
    }
    balances = list(_balances_of(kind, list(wanted)))
    opening, held = _closings(kind, month, list(wanted)), _held_at(end, balances)
    Statement.objects.bulk_create(statements.values())
    rows = []
    for balance in balances:
        before = opening.get(balance.pk, 0)
        (gained, arrivals), (lost, departures) = came.get(balance.pk, (0, 0)), went.get(balance.pk, (0, 0))
        rows.append(
            StatementBalance(
                statement=statements[UUID(balance.owner_key.removeprefix("acct:"))],
                balance=balance,
                asset_id=balance.asset_id,
                kind=balance.kind,
                opening=before,
                came=gained,
                went=lost,
                closing=before + gained - lost,
                held=held.get(balance.pk, 0),
                arrivals=arrivals,
                departures=departures,
            )
        )
    StatementBalance.objects.bulk_create(rows)
    for statement in statements.values():
        outbox.tell(
            event=EventType.STATEMENT_MADE,
            account=statement.account,
            data=news_of_statement(statement),
            key=f"statement:{kind}:{month}",
            now=clock.now(),
        )


@retried
def _make_books(month: date) -> None:
    """Store what the month's books come to, once."""
    platform = Account.platform()
    if Statement.objects.filter(kind=StatementKind.BOOKS, month=month, account=platform).exists():
        return
    statement = Statement(kind=StatementKind.BOOKS, account=platform, month=month)
    rows = books_of(statement)
    Statement.objects.bulk_create([statement])
    StatementBalance.objects.bulk_create(rows)


def books_of(statement: Statement) -> list[StatementBalance]:
    """Add up a month by asset and kind of balance, those of accounts and the platform's own, on the month before."""
    transfers = Transfer.objects.filter(created_at__gte=statement.begin, created_at__lt=statement.end).order_by()
    earlier = Statement.objects.filter(kind=StatementKind.BOOKS, month__lt=statement.month).order_by("-month").first()
    rows: dict[tuple[str, str], StatementBalance] = {}

    def row(asset: str, kind: str) -> StatementBalance:
        if (asset, kind) not in rows:
            nothing = dict.fromkeys(("opening", "came", "went", "closing", "arrivals", "departures"), 0)
            rows[asset, kind] = StatementBalance(statement=statement, asset_id=asset, kind=kind, **nothing)
        return rows[asset, kind]

    for old in earlier.balances.all() if earlier else ():
        row(old.asset_id, old.kind).opening = old.closing
    for side, sums, counts in (("credit", "came", "arrivals"), ("debit", "went", "departures")):
        summed = transfers.values_list("asset_id", f"{side}__kind").annotate(Sum("amount"), Count("pk"))
        for asset, kind, amount, count in summed:
            setattr(row(asset, kind), sums, int(amount))
            setattr(row(asset, kind), counts, count)
    for found in rows.values():
        found.closing = found.opening + found.came - found.went
    return list(rows.values())


def _batches(ids: Iterable[UUID], size: int) -> Iterator[list[UUID]]:
    rest = iter(ids)
    while batch := list(islice(rest, size)):
        yield batch


def _of_kind(kind: str, balances: Any) -> Any:
    balances = balances.filter(owner_key__startswith="acct:")
    is_earning = Q(kind__in=sorted(EARNING_KINDS))
    return balances.filter(is_earning if kind == StatementKind.OWNER else ~is_earning)


def _balances_of(kind: str, account_ids: list[UUID]) -> Any:
    return _of_kind(kind, Balance.objects.filter(owner_key__in=[f"acct:{pk}" for pk in account_ids]))


def _closings(kind: str, month: date, account_ids: list[UUID]) -> dict[UUID, int]:
    """Give what each balance closed with on its account's last statement; one that has none had nothing."""
    last = Statement.objects.filter(account=OuterRef("statement__account"), kind=kind, month__lt=month)
    rows = StatementBalance.objects.filter(
        statement__account__in=account_ids,
        statement__kind=kind,
        statement__month=Subquery(last.order_by("-month").values("month")[:1]),
    )
    return dict(rows.values_list("balance_id", "closing"))


def _held_at(moment: datetime, balances: list[Balance]) -> dict[UUID, int]:
    """Sum what was held of each balance at a moment, by what the holds say now.

    What was captured since is taken from the transfers. An open hold's extensions and partial releases have no
    moment: they count as before it. Seconds after the month's end there are none.
    """
    holds = Hold.objects.filter(balance__in=balances, created_at__lt=moment).order_by()
    still = (
        holds.filter(closed_at=None)
        .values_list("balance_id")
        .annotate(left=Sum(F("amount") - F("captured") - F("released")))
    )
    closed = (
        holds.filter(closed_at__gte=moment).values_list("balance_id").annotate(left=Sum(F("amount") - F("captured")))
    )
    since = Transfer.objects.filter(
        Q(hold__closed_at=None) | Q(hold__closed_at__gte=moment), hold__in=holds, created_at__gte=moment
    )
    found: dict[UUID, int] = defaultdict(int)
    for rows in (still, closed, since.order_by().values_list("debit_id").annotate(Sum("amount"))):
        for balance_id, amount in rows:
            found[balance_id] += int(amount)
    return found


def _of_owners(account_ids: list[UUID], begin: datetime, end: datetime, now: datetime) -> dict[UUID, dict[str, Any]]:
    """Give what statements of owners say beside their balances; minutes of hosts while all days are still kept."""
    sold = _sold(account_ids, begin, end)
    facts: dict[UUID, dict[str, Any]] = {pk: {**NOTHING_SOLD, **sold.get(pk, {})} for pk in account_ids}
    if begin > now - timedelta(days=KEPT_DAYS):
        days = HostDay.objects.filter(host__account__in=account_ids, day__gte=begin.date(), day__lt=end.date())
        summed = days.order_by().values_list("host__account").annotate(Sum("up_minutes"), Sum("counted_minutes"))
        for pk, up, counted in summed:
            facts[pk] |= {"up_minutes": up, "counted_minutes": counted}
    return facts


def _sold(account_ids: list[UUID], begin: datetime, end: datetime) -> dict[UUID, dict[str, int]]:
    """Add up the charges on each owner's GPUs; time that nobody paid for with hours or money is in neither sum."""
    rows = (
        Charge.objects.within(begin, end)
        .filter(owner_account_id__in=account_ids)
        .order_by()
        .values("owner_account_id")
        .annotate(
            sold=Sum("gpu_ms", filter=~Q(funding="quota")),
            lent=Sum("gpu_ms", filter=Q(funding="quota")),
            all_charged=Sum("charge"),
            all_fees=Sum("fee"),
            all_parts=Sum("owner_part"),
            lost=Sum("from_loss"),
        )
    )
    return {
        row["owner_account_id"]: {
            "sold_ms": int(row["sold"] or 0),
            "lent_ms": int(row["lent"] or 0),
            "charged": int(row["all_charged"] or 0),
            "fee": int(row["all_fees"] or 0),
            "owner_part": int(row["all_parts"] or 0),
            "from_loss": int(row["lost"] or 0),
        }
        for row in rows
    }


def _within(transfers: Any, begin: datetime, end: datetime | None) -> Any:
    """Keep transfers of a time; the bounds on ids let the index on a balance's side find it."""
    found = transfers.filter(created_at__gte=begin, pk__gte=first_of(begin - SKEW))
    return found if end is None else found.filter(created_at__lt=end, pk__lt=first_of(end + SKEW))


def _sum(transfers: Any) -> tuple[int, int]:
    found = transfers.aggregate(amount=Sum("amount"), count=Count("pk"))
    return int(found["amount"] or 0), found["count"]


def _sides(balance: StatementBalance) -> Iterator[tuple[str, int]]:
    is_one = balance.balance_id is not None
    if is_one and balance.arrivals:
        yield "credit_id", 1
    if is_one and balance.departures:
        yield "debit_id", -1


def _side(balance: StatementBalance, side: str, sign: int, bounds: tuple[datetime, datetime]) -> Iterator[Line]:
    """Page through one side of one balance by the last id seen."""
    rows = _within(Transfer.objects.filter(**{side: balance.balance_id}), *bounds).order_by("pk")
    columns = ("pk", "created_at", "kind", "amount", "ref", "memo")
    last = None
    while page := list((rows if last is None else rows.filter(pk__gt=last)).values_list(*columns)[:PAGE]):
        last = page[-1][0]
        for pk, at, kind, amount, ref, memo in page:
            yield Line(pk, at, balance, kind, sign * amount, ref, memo)
