"""Monthly statements: they follow the ledger to the last unit, and never change."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.ledger import check
from accounts.ledger.models import Balance, Hold, Transfer
from accounts.ledger.services import capture, hold, platform_balance, release
from accounts.ledger.services.captures import Leg
from gaas.lib import clock
from gpus.models import HostDay
from gpus.tests.fleet import an_active_host
from payments.choices import StatementKind
from payments.models import Statement, StatementBalance
from payments.models.statement import month_of
from payments.services import statements
from payments.services.books import books_by_month
from payments.services.statements import lines_of, make_due, make_month, movements_of, next_due, so_far
from payments.statement_rows import owner_facts
from payments.tests.months import INSTANT, NOVEMBER, OCTOBER, moved, of, purse, sums
from payments.tests.test_charge import a_charge

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(db) -> Balance:
    return platform_balance(asset="USD", kind="clearing:test")


class TestMonths:
    def test_what_moved_in_a_month_stands_on_its_statement_and_the_next_opens_with_what_was_left(self, lab, bank):
        moved(bank, purse(lab), 100, OCTOBER)
        moved(purse(lab), bank, 30, NOVEMBER - INSTANT)
        moved(bank, purse(lab), 7, NOVEMBER)
        make_month(OCTOBER.date())
        make_month(NOVEMBER.date())
        assert sums(of(lab)) == (0, 100, 30, 70)
        assert sums(of(lab, NOVEMBER)) == (70, 7, 0, 77)

    def test_a_month_without_a_movement_has_none_and_the_next_opens_all_the_same(self, lab, bank):
        moved(bank, purse(lab), 100, OCTOBER)
        moved(bank, purse(lab), 1, datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))
        assert make_due(most=3) == 3
        assert Statement.objects.filter(account=lab).count() == 2
        assert sums(of(lab, datetime(2025, 12, 1, tzinfo=UTC))) == (100, 1, 0, 101)

    @pytest.mark.parametrize("year", [2024, 2025])
    def test_february_is_as_long_as_it_is(self, lab, bank, year):
        last = datetime(year, 3, 1, tzinfo=UTC) - INSTANT
        moved(bank, purse(lab), 5, last)
        make_month(date(year, 2, 1))
        statement = of(lab, datetime(year, 2, 1, tzinfo=UTC))
        assert statement.last_day == date(year, 2, 29 if year == 2024 else 28)
        assert [line.at for line in lines_of(statement, statement.balances.all())] == [last]

    def test_the_month_that_runs_is_not_due_and_ended_ones_are_made_once_in_their_order(self, lab, bank):
        now = clock.now()
        moved(bank, purse(lab), 5, (now.replace(day=1) - timedelta(days=40)).replace(day=1))
        moved(bank, purse(lab), 5, now)
        first = next_due()
        made = make_due()
        assert made in (2, 3)
        assert (next_due(), make_due()) == (None, 0)
        months = list(Statement.objects.filter(kind="books").order_by("pk").values_list("month", flat=True))
        assert months == sorted(set(months))
        assert months[0] == first
        assert months[-1] < now.date().replace(day=1)

    def test_who_is_killed_half_way_is_followed_by_who_makes_the_rest(self, lab, child, bank, monkeypatch):
        moved(bank, purse(lab), 5, OCTOBER)
        moved(bank, purse(child), 6, OCTOBER)
        monkeypatch.setattr(statements, "BATCH", 1)
        statements._make(StatementKind.ACCOUNT, OCTOBER.date(), [lab.pk], {purse(lab).pk: (5, 1)}, {})
        before = of(lab).pk
        assert next_due() == OCTOBER.date()
        make_month(OCTOBER.date())
        assert of(lab).pk == before
        assert sums(of(child)) == (0, 6, 0, 6)
        assert next_due() == NOVEMBER.date()

    def test_a_statement_is_not_changed(self, lab, bank):
        moved(bank, purse(lab), 5, OCTOBER)
        make_month(OCTOBER.date())
        with pytest.raises(TypeError):
            of(lab).save()

    def test_what_is_held_at_the_end_is_what_was_promised_then(self, lab, bank):
        wallet = purse(lab)
        moved(bank, wallet, 1000, OCTOBER)
        wallet.refresh_from_db()
        keys = ("open", "spent later", "released before", "later")
        rows = {key: hold(balance=wallet, amount=100, key=key, purpose="task") for key in keys}
        Hold.objects.exclude(key="later").update(created_at=OCTOBER)
        leg = Leg(credit=bank, amount=40, kind="usage", key="leg")
        capture(hold_id=rows["spent later"].pk, legs=[leg], final=True)
        release(hold_id=rows["released before"].pk)
        Hold.objects.filter(key="released before").update(closed_at=NOVEMBER - INSTANT)
        make_month(OCTOBER.date())
        assert of(lab).balances.get(kind="wallet").held == 200

    def test_two_who_make_a_month_at_once_make_it_once(self, transactional_db, postgresql, lab, child, bank):
        for account in (lab, child):
            moved(bank, purse(account), 5, OCTOBER)

        def make(_: int) -> None:
            try:
                make_month(OCTOBER.date())
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make, range(8)))
        assert Statement.objects.count() == 3
        assert StatementBalance.objects.filter(kind="wallet", balance__isnull=False).count() == 2


class TestOwners:
    def test_earnings_and_what_was_charged_stand_on_the_owners_statement_alone(self, olga, bank):
        account = olga.personal_account
        pending, earnings = purse(account, "earnings_pending"), purse(account, "earnings")
        moved(bank, pending, 900, OCTOBER, "earning")
        moved(bank, pending, 50, OCTOBER, "loss")
        moved(pending, earnings, 600, OCTOBER + timedelta(days=7), "matured")
        moved(earnings, bank, 500, OCTOBER + timedelta(days=9), "payout")
        mine = {"owner_account_id": account.pk, "at": OCTOBER}
        a_charge(**mine, charge=1000, fee=100, owner_part=900, gpu_ms=7_000)
        a_charge(**mine, charge=0, fee=0, owner_part=0, from_loss=50, gpu_ms=300)
        a_charge(**mine, charge=0, fee=0, owner_part=0, funding="quota", gpu_ms=11)
        a_charge(**{**mine, "at": NOVEMBER})
        make_month(OCTOBER.date())
        statement = of(account, kind="owner")
        assert (statement.sold_ms, statement.lent_ms) == (7_300, 11)
        assert (statement.charged, statement.fee, statement.owner_part, statement.from_loss) == (1000, 100, 900, 50)
        assert sums(statement, "earnings_pending") == (0, 950, 600, 350)
        assert sums(statement, "earnings") == (0, 600, 500, 100)
        kinds = {
            (row.balance.kind, row.kind): (row.came, row.went)
            for row in movements_of(statement, statement.balances.all())
        }
        assert kinds["earnings_pending", "earning"] == (statement.owner_part, 0)
        assert kinds["earnings_pending", "loss"] == (statement.from_loss, 0)
        assert kinds["earnings", "payout"] == (0, 500)

    def test_how_long_hosts_were_up_is_counted_while_all_days_are_kept(self, olga, bank):
        account, now = olga.personal_account, clock.now()
        host = an_active_host(account)
        begin, end = month_of((now.replace(day=1) - timedelta(days=1)).date())
        for day in (begin - timedelta(days=1), begin, end - timedelta(days=1), end):
            HostDay.objects.create(host=host, day=day.date(), counted_minutes=1440, up_minutes=1439, counted_at=now)
        moved(bank, purse(account, "earnings"), 1, OCTOBER)
        moved(bank, purse(account, "earnings"), 1, begin)
        make_month(OCTOBER.date())
        make_month(begin.date())
        statement = of(account, begin, kind="owner")
        assert (statement.up_minutes, statement.counted_minutes) == (2878, 2880)
        assert owner_facts(statement)[-1] == ("Hosts were up", "99.93", "% of the time")
        assert of(account, kind="owner").counted_minutes is None

    def test_who_only_lends_to_the_quota_gets_one_too(self, olga):
        a_charge(owner_account_id=olga.personal_account.pk, funding="quota", charge=0, fee=0, owner_part=0, at=OCTOBER)
        make_month(OCTOBER.date())
        assert of(olga.personal_account, kind="owner").lent_ms == 3_600_000


MOMENTS = st.integers(0, 92 * 24 * 3600 * 1000).map(lambda ms: OCTOBER - timedelta(days=31) + ms * INSTANT)
EDGES = st.sampled_from([OCTOBER, OCTOBER - INSTANT, NOVEMBER, NOVEMBER - INSTANT])
MOVES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 2**40), MOMENTS | EDGES), min_size=1, max_size=25
)


class TestReconciliation:
    @given(moves=MOVES)
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_moves_statements_follow_the_ledger_to_the_last_unit(self, moves, lab, child, bank):
        with transaction.atomic():
            purses = [bank, purse(lab), purse(child), purse(lab, "earnings_pending"), purse(lab, "earnings")]
            for debit, credit, amount, at in moves:
                if debit != credit:
                    moved(purses[debit], purses[credit], amount, at)
            while (month := next_due()) is not None and month < date(2026, 1, 1):
                make_month(month)
            assert_reconciled(purses)
            is_any = any(debit != credit for debit, credit, *_ in moves)
            assert Statement.objects.exclude(kind="books").exists() == is_any
            assert [result.problems for result in check.run(only={15})] == [[]]
            transaction.set_rollback(True)


def assert_reconciled(purses: list[Balance]) -> None:
    """Hold each statement against the transfers of its month, counted here one by one."""
    for statement in Statement.objects.exclude(kind="books"):
        rows = list(statement.balances.all())
        lines = list(lines_of(statement, rows))
        for row in rows:
            touching = Transfer.objects.filter(Q(debit=row.balance_id) | Q(credit=row.balance_id))
            signed = Counter()
            for one in touching:
                when = (
                    "before"
                    if one.created_at < statement.begin
                    else "in"
                    if one.created_at < statement.end
                    else "after"
                )
                signed[when] += one.amount if one.credit_id == row.balance_id else -one.amount
            assert row.opening == signed["before"]
            assert row.closing - row.opening == signed["in"]
            assert sum(line.amount for line in lines if line.balance is row) == signed["in"]
        assert len(lines) == sum(row.arrivals + row.departures for row in rows)
        summed = movements_of(statement, rows)
        assert sum(row.came - row.went for row in summed) == sum(line.amount for line in lines)
    for books in Statement.objects.filter(kind="books"):
        assert sum(books.balances.filter(asset="USD").values_list("closing", flat=True)) == 0


class TestChecks:
    def test_a_statement_that_says_otherwise_is_found(self, lab, bank):
        moved(bank, purse(lab), 5, OCTOBER)
        moved(bank, purse(lab), 5, NOVEMBER)
        make_due(most=2)
        assert [result.problems for result in check.run(only={15})] == [[]]
        StatementBalance.objects.filter(statement=of(lab)).update(closing=6, came=6)
        (result,) = check.run(only={15})
        assert "the one before closed with 6" in result.problems[0]
        StatementBalance.objects.filter(statement=of(lab, NOVEMBER), kind="wallet").update(closing=11, opening=6)
        (result,) = check.run(only={15})
        assert "come to 11" in result.problems[0]


class TestSoFar:
    def test_the_month_that_runs_is_told_as_it_stands(self, lab, bank):
        now = clock.now()
        moved(bank, purse(lab), 100, now.replace(day=1) - timedelta(days=3))
        moved(purse(lab), bank, 30, now - INSTANT)
        statement, rows = so_far(account=lab, kind="account", now=now)
        row = next(row for row in rows if row.kind == "wallet")
        assert (row.opening, row.came, row.went, row.closing) in ((100, 0, 30, 70), (0, 100, 30, 70))
        assert sum(line.amount for line in lines_of(statement, rows)) == row.came - row.went
        assert Statement.objects.count() == 0


class TestBooks:
    def test_each_month_says_what_came_in_what_was_kept_and_what_is_owed(self, lab, olga, bank):
        fees = platform_balance(asset="USD", kind="fees")
        earnings = purse(olga.personal_account, "earnings_pending")
        moved(bank, purse(lab), 1000, OCTOBER)
        moved(purse(lab), earnings, 90, OCTOBER)
        moved(purse(lab), fees, 10, OCTOBER)
        moved(earnings, bank, 40, NOVEMBER)
        make_due(most=2)
        october, november, running = books_by_month(now=clock.now())
        assert (october.came_in, october.went_out, october.fees) == (1000, 0, 10)
        assert (october.owed_to_payers, october.owed_to_owners, october.owed) == (900, 90, 990)
        assert (november.came_in, november.went_out, november.owed_to_owners) == (0, 40, 50)
        assert (running.is_over, running.owed, running.fees) == (False, 950, 0)
