"""Which periods of which contracts are due on which day of a month."""

from __future__ import annotations

from calendar import Calendar, monthrange
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.db.models import Prefetch, Q

from payments.choices import CONTRACT_RUNNING, Renewal
from payments.models import Contract, ContractPeriod, ContractTerms
from payments.services.contract_tick import end_no

MOST = 500


@dataclass(frozen=True)
class Entry:
    """One period on one day: `said` is how it stands."""

    contract: Contract
    no: int
    said: str


@dataclass(frozen=True)
class Month:
    """Weeks of seven days, Monday first; a day outside the month is None. `more`: there are contracts not shown."""

    first: date
    weeks: list[list[tuple[date, list[Entry]] | None]]
    more: bool

    @property
    def is_empty(self) -> bool:
        return not any(cell is not None and cell[1] for week in self.weeks for cell in week)


def month_of(first: date) -> Month:
    """Lay out the periods that begin in a month, those done and those to come as things are."""
    last = first.replace(day=monthrange(first.year, first.month)[1])
    rows = (
        Contract.objects.filter(
            Q(status__in=CONTRACT_RUNNING) | Q(ended_at__date__gte=first, activated_at__isnull=False)
        )
        .select_related("payer", "payee")
        .prefetch_related(
            Prefetch("terms", ContractTerms.objects.filter(effective_no__isnull=False).order_by("version")),
        )
        .order_by("pk")[: MOST + 1]
    )
    contracts = list(rows)
    done = {
        (period.contract_id, period.no): period.get_status_display()
        for period in ContractPeriod.objects.filter(
            contract__in=contracts[:MOST], due_at__date__gte=first.replace(day=1)
        )
    }
    days: dict[date, list[Entry]] = defaultdict(list)
    for contract in contracts[:MOST]:
        for entry in _in_month(contract, first, last, done):
            days[contract.schedule.day(entry.no)].append(entry)
    weeks = [
        [(day, days[day]) if day.month == first.month else None for day in week]
        for week in Calendar().monthdatescalendar(first.year, first.month)
    ]
    return Month(first, weeks, len(contracts) > MOST)


def _in_month(contract: Contract, first: date, last: date, done: dict[tuple[UUID, int], str]) -> Iterable[Entry]:
    stop = _stop(contract)
    no = contract.schedule.first_on(first)
    while contract.schedule.day(no) <= last:
        if no < contract.next_no:
            yield Entry(contract, no, done.get((contract.pk, no), "Done"))
        elif contract.is_running and (stop is None or no < stop):
            said = contract.get_status_display() if no == contract.next_no and contract.trouble else "Due"
            yield Entry(contract, no, "Paused" if contract.status == "PAUSED" else said)
        no += 1


def _stop(contract: Contract) -> int | None:
    terms = list(contract.terms.all())
    ends = [contract.stop_no]
    if terms and terms[-1].renewal == Renewal.NONE:
        ends.append(end_no(contract, terms[-1]))
    return min((end for end in ends if end is not None), default=None)
