"""Submits of children against what their parents set."""

from __future__ import annotations

from functools import partial

import pytest

from accounts import services as accounts
from accounts.choices import PaysFrom, Role
from accounts.ledger.models import Cap, Hold
from accounts.ledger.services import CapExceeded
from accounts.ledger.tests.conftest import race
from accounts.models import Account, Membership
from gaas.lib import clock
from gaas.tests.cast import make_user
from tasks import services
from tasks.models import Task
from tasks.tests.rig import HOUR, a_body, a_draft, a_task

URL = "/api/v1/tasks/"


@pytest.fixture
def rich(family, root):
    accounts.grant_hours(account=family, gpu_ms=1000 * HOUR, by=root, reason="A year", key="k")
    return family


@pytest.fixture
def cap(child, pat):
    def set_cap(limit, account=child, period="month"):
        return accounts.set_cap(account=account, asset="GPU", period=period, limit=limit, by=pat, now=clock.now())

    return set_cap


@pytest.mark.django_db
@pytest.mark.usefixtures("sound_books")
class TestSubmit:
    def test_a_cap_refuses_and_stores_nothing(self, api, charlie, child, rich, cap):
        cap(5 * HOUR)
        client = api(charlie)
        first = client.post(URL, a_body(account=str(child.pk), hours="4"), format="json")
        assert first.status_code == 201
        again = client.post(URL, a_body(account=str(child.pk), hours="2"), format="json")
        assert (again.status_code, again.json()["errors"][0]["code"]) == (400, "cap_exceeded")
        assert "Child" in again.json()["errors"][0]["detail"]
        assert (Task.objects.count(), Cap.objects.get().used) == (1, 4 * HOUR)

    def test_the_quote_says_so_before(self, api, charlie, child, rich, cap):
        cap(HOUR)
        quote = api(charlie).post(f"{URL}quote/", a_body(account=str(child.pk)), format="json").json()
        assert quote["refusal"]["code"] == "cap_exceeded"
        assert Cap.objects.get().used == 0

    def test_the_hold_says_for_whom_it_is(self, charlie, child, rich):
        task = a_task(charlie, account=child)
        assert (task.hold.spender, task.payer) == (child.owner_key, rich)

    def test_a_cancel_gives_back(self, charlie, child, rich, cap):
        cap(2 * HOUR)
        task = a_task(charlie, account=child)
        services.cancel(task, by=charlie, now=clock.now())
        a_task(charlie, account=child)
        assert Cap.objects.get().used == 2 * HOUR

    def test_fewer_hours_at_the_approval_give_back(self, charlie, dana, child, rich, cap):
        cap(2 * HOUR)
        task = a_task(charlie, account=child)
        services.approve(task, by=dana, limit_ms=HOUR, now=clock.now())
        assert Cap.objects.get().used == HOUR

    def test_a_closed_account_submits_nothing(self, api, alice, lab, root):
        accounts.grant_hours(account=lab, gpu_ms=HOUR, by=root, reason="x", key="lab")
        accounts.close_account(account=lab, by=alice, now=clock.now())
        answer = api(alice).post(URL, a_body(account=str(lab.pk)), format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "account_closed")

    def test_case_53_a_parent_reclaims_while_the_child_holds(self, charlie, pat, child, rich):
        accounts.set_pays_from(account=child, pays_from=PaysFrom.SELF, by=pat)
        child.refresh_from_db()
        accounts.fund(account=rich, to=child, asset="GPU", amount=10 * HOUR, by=pat, key="f")
        a_task(charlie, account=child, limit_ms=4 * HOUR)
        take = partial(accounts.reclaim, account=rich, source=child, asset="GPU", by=pat)
        with pytest.raises(accounts.MoreThanGiven):
            take(amount=6 * HOUR + 1, key="too much")
        take(amount=6 * HOUR, key="all but the hold")
        balances = accounts.balances_of(child)
        assert (balances.hours_available, balances.hours_held) == (0, 4 * HOUR)

    def test_case_54_a_child_with_a_task_under_way_stays(self, charlie, child, rich, cap):
        Membership.objects.filter(user=charlie, account=child).update(role=Role.OWNER)
        task = a_task(charlie, account=child)
        with pytest.raises(accounts.OpenHolds):
            accounts.move_account(account=child, parent=None, by=charlie)
        services.cancel(task, by=charlie, now=clock.now())
        assert accounts.move_account(account=child, parent=None, by=charlie).parent is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql", "sound_books")
class TestRaces:
    @pytest.fixture
    def kids(self, rich):
        made = []
        for number in range(4):
            account = Account.objects.create(name=f"Kid {number}", parent=rich, pays_from=PaysFrom.PARENT)
            user = make_user(f"kid{number}")
            Membership.objects.create(account=account, user=user, role=Role.MEMBER)
            made.append((account, user))
        return made

    def test_case_52_a_cap_is_reached_by_two_tasks_at_once(self, charlie, child, rich, cap):
        cap(2 * HOUR)
        for _ in range(5):
            outcomes = race(*[partial(services.submit, a_draft(account=child), by=charlie, now=clock.now())] * 2)
            assert sorted(type(outcome) for outcome in outcomes if isinstance(outcome, Exception)) == [CapExceeded]
            task = next(outcome for outcome in outcomes if isinstance(outcome, Task))
            services.cancel(task, by=charlie, now=clock.now())

    def test_forty_holds_of_children_never_pass_a_parents_cap(self, charlie, child, rich, cap):
        group = [Account.objects.create(name=f"G{n}", parent=child, pays_from=PaysFrom.PARENT) for n in range(4)]
        for account in group:
            Membership.objects.create(account=account, user=charlie, role=Role.MEMBER)
        cap(25 * HOUR)
        calls = [
            partial(services.submit, a_draft(account=group[n % 4], limit_ms=HOUR), by=charlie, now=clock.now())
            for n in range(40)
        ]
        outcomes = race(*calls)
        assert [type(o) for o in outcomes if isinstance(o, Exception)] == [CapExceeded] * 15
        assert (Cap.objects.get().used, Hold.objects.count()) == (25 * HOUR, 25)

    def test_a_cap_that_is_set_meanwhile_misses_no_hold(self, charlie, pat, child, rich, cap):
        for turn in range(5):
            calls = [
                partial(services.submit, a_draft(account=child, limit_ms=HOUR), by=charlie, now=clock.now())
                for _ in range(6)
            ]
            outcomes = race(*calls, partial(cap, 3 * HOUR))
            rule = outcomes[-1]
            stored = Cap.objects.get(starts_at__lte=clock.now(), ends_at__gt=clock.now())
            tasks = [outcome for outcome in outcomes if isinstance(outcome, Task)]
            assert stored.used == len(tasks) * HOUR, turn
            for task in tasks:
                services.cancel(task, by=charlie, now=clock.now())
            accounts.remove_cap(rule=rule, by=pat)

    def test_a_child_moves_or_submits(self, charlie, child, rich):
        Membership.objects.filter(user=charlie, account=child).update(role=Role.OWNER)
        other = Account.objects.create(name="Other", parent=rich)
        Membership.objects.create(account=rich, user=charlie, role=Role.OWNER)
        for turn in range(8):
            child.refresh_from_db()
            target = other if turn % 2 == 0 else rich
            submitted, moved = race(
                partial(services.submit, a_draft(account=child, limit_ms=HOUR), by=charlie, now=clock.now()),
                partial(accounts.move_account, account=child, parent=target, by=charlie),
            )
            child.refresh_from_db()
            if isinstance(submitted, Task):
                services.cancel(submitted, by=charlie, now=clock.now())
            if isinstance(moved, Exception):
                assert isinstance(submitted, Task), (submitted, moved)
                accounts.move_account(account=child, parent=target, by=charlie)
