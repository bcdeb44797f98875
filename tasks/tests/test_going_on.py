"""Tasks without an end: paid ahead, charged and prolonged hour by hour, until nobody pays for the next one."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import connection
from django.db.models import F

from accounts.choices import CapPeriod
from accounts.ledger import check
from accounts.ledger.models import Balance, Cap, Hold, Transfer
from accounts.models import Account, User
from accounts.services import set_cap, set_threshold
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.outbox.models import Mail
from payments.models import Charge
from tasks import services
from tasks.checks import check_prolong_seconds
from tasks.choices import StepKind
from tasks.models import Attempt, Task
from tasks.services.attempts import close
from tasks.services.sweep import sweep
from tasks.tests.rig import HOUR, Rig, a_body, a_draft, an_approved_task, refused, running_on, top_up, wallet_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

PRICE = 3_600_001
SERVES = {"command": ["serve"], "serve": True}
MINUTES = 60_000


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account, price_per_hour=PRICE)


@pytest.fixture
def serving(alice, dana, rig):
    """Have a task without an end run, paid from a wallet that lasts for three hours."""

    def make(money=3 * PRICE + 10, **changes):
        top_up(alice.personal_account, money)
        task = an_approved_task(alice, dana, **{"funding": "wallet", "spec": SERVES, "limit_ms": None, **changes})
        return task, running_on(rig)

    return make


def has_run(rig, offer, ms):
    """Have the host report that the program has run so long, by its clock and the server's."""
    began = clock.now() - timedelta(milliseconds=ms)
    rows = Attempt.objects.filter(pk=offer["id"])
    rows.update(started_at=began, runs_out_at=began + timedelta(milliseconds=rows.get().limit_ms))
    rig.held[offer["id"]]["elapsed_ms"] = ms
    return rig.sync()


def prolong(task):
    return services.prolong(task_id=task.pk, now=clock.now())


def earned(user):
    kept = Balance.objects.filter(kind="earnings_pending", owner_key=user.personal_account.owner_key).first()
    return kept.posted if kept else 0


class TestSubmit:
    def test_an_hour_ahead_is_held(self, api, alice, rig):
        top_up(alice.personal_account, 5 * PRICE)
        body = a_body(spec=SERVES, funding="wallet", hours=None)
        quoted = api(alice).post("/api/v1/tasks/quote/", body, format="json").json()
        assert (quoted["hours"], quoted["cost_microusd_held"]) == (None, PRICE)
        made = api(alice).post("/api/v1/tasks/", body, format="json").json()
        assert made["hours"] is None
        assert wallet_of(alice.personal_account) == (4 * PRICE, PRICE)
        again = Task.objects.get(pk=made["id"])
        assert again.is_open_ended

    @pytest.mark.parametrize("hours", [{"hours": None}, {}])
    def test_what_computes_has_an_end(self, api, alice, hours):
        body = {name: value for name, value in a_body().items() if name != "hours"}
        answer = api(alice).post("/api/v1/tasks/", {**body, **hours}, format="json")
        refused(answer, 400, "required", "hours")

    def test_it_passes_every_threshold(self, alice, pat, family, child, charlie):
        Account.objects.filter(pk=family.pk).update(pays_from="SELF")
        set_threshold(account=child, asset="GPU", above=100 * HOUR, by=pat)
        top_up(family, PRICE)
        draft = a_draft(spec=SERVES, limit_ms=None, account=child)
        planned = services.quote(draft, by=charlie, now=clock.now()).plan
        assert [step.kind for step in planned.steps] == [StepKind.PARENT_MANAGER, StepKind.STAFF]

    def test_fewer_hours_cannot_be_approved(self, alice, dana, rig):
        top_up(alice.personal_account, 5 * PRICE)
        task = services.submit(a_draft(spec=SERVES, limit_ms=None, funding="wallet"), by=alice, now=clock.now())
        with pytest.raises(DomainError, match="until it is ended"):
            services.approve(task, by=dana, limit_ms=HOUR, now=clock.now())

    def test_owners_hours_that_end_are_too_short(self, alice, dana, rig):
        top_up(alice.personal_account, 5 * PRICE)
        for gpu in rig.host.gpus.select_related("host__account"):
            window = {"days": [0, 1, 2, 3, 4, 5, 6], "from": "00:00", "to": "23:59"}
            gpu.offer(by=None, now=clock.now(), schedule={"time_zone": "UTC", "windows": [window]})
        an_approved_task(alice, dana, spec=SERVES, limit_ms=None, funding="wallet", max_price_per_hour=PRICE)
        assert services.schedule() == 0


class TestProlong:
    def test_each_hour_is_charged_and_the_next_one_held(self, serving, rig, alice, olga):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        assert prolong(task)

        task.refresh_from_db()
        charge = PRICE * 50 // 60
        assert (task.limit_ms, task.gpu_ms, task.cost_microusd) == (2 * HOUR, 50 * MINUTES, charge)
        assert task.hold.open_amount == -(-PRICE * 70 // 60)
        assert earned(olga) == charge - charge // 10
        held = task.hold.open_amount
        assert wallet_of(alice.personal_account) == (3 * PRICE + 10 - charge - held, held)
        assert has_run(rig, offer, 51 * MINUTES)["attempts"][0]["limit_ms"] == 2 * HOUR

    def test_case_17_a_meter_that_goes_backwards_repeats_or_comes_late(self, serving, rig, olga):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        assert [prolong(task) for _ in range(3)] == [True, False, False]
        rig.held[offer["id"]]["elapsed_ms"] = 5 * MINUTES
        rig.sync()
        assert not prolong(task)
        assert Charge.objects.get().gpu_ms == 50 * MINUTES

        rig.finish(offer, elapsed_ms=10 * MINUTES)

        assert Charge.objects.get().gpu_ms == 50 * MINUTES
        assert not prolong(task)
        rig.finish(offer, elapsed_ms=10 * MINUTES)
        rig.finish(offer, "FAILED", elapsed_ms=90 * MINUTES, status=409)
        assert Charge.objects.get().gpu_ms == 50 * MINUTES

    def test_in_all_it_is_the_formula_however_many_parts(self, serving, rig, olga, alice):
        task, offer = serving(money=20 * PRICE)
        for minutes in (50, 107, 171, 229):
            has_run(rig, offer, minutes * MINUTES + 7)
            assert prolong(task)
        rig.finish(offer, elapsed_ms=240 * MINUTES)
        # By the server's clock a little less than what the agent says has gone by.
        ran = Attempt.objects.get().metered_ms
        charge = PRICE * ran // HOUR
        task.refresh_from_db()
        assert (task.status, task.cost_microusd, task.gpu_ms) == ("COMPLETED", charge, ran)
        assert Charge.objects.count() == 5
        assert earned(olga) == charge - charge // 10
        assert wallet_of(alice.personal_account) == (20 * PRICE - charge, 0)

    def test_what_the_ceiling_holds_too_much_comes_back_each_hour(self, serving, rig, alice):
        task, offer = serving(money=30 * PRICE, max_price_per_hour=4 * PRICE)
        for minutes in (50, 110, 170):
            has_run(rig, offer, minutes * MINUTES)
            assert prolong(task)
        task.refresh_from_db()
        assert task.hold.open_amount == -(-4 * PRICE * 70 // 60)

    def test_hours_of_a_quota_go_the_same_way(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        task = an_approved_task(alice, dana, spec=SERVES, limit_ms=None)
        offer = running_on(rig)
        has_run(rig, offer, 50 * MINUTES)
        assert prolong(task)
        assert Transfer.objects.get(kind="usage").amount == 50 * MINUTES
        rig.finish(offer, elapsed_ms=51 * MINUTES)
        assert sum(Transfer.objects.filter(kind="usage").values_list("amount", flat=True)) <= 51 * MINUTES

    def test_the_sweep_and_a_sync_ask_for_it(self, serving, rig):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        sweep(now=clock.now())
        sweep(now=clock.now())
        task.refresh_from_db()
        assert task.limit_ms == 2 * HOUR

    def test_enough_left_is_left_alone(self, serving, rig):
        task, offer = serving()
        has_run(rig, offer, 30 * MINUTES)
        assert not prolong(task)
        assert not Charge.objects.exists()

    def test_a_task_with_an_end_is_never_prolonged(self, serving, rig):
        task, offer = serving(limit_ms=HOUR)
        has_run(rig, offer, 50 * MINUTES)
        assert not prolong(task)


class TestNoMoreMoney:
    def test_its_submitter_is_told_once_and_it_ends_within_the_hold(self, serving, rig, alice, api):
        task, offer = serving(money=PRICE)
        has_run(rig, offer, 50 * MINUTES)
        assert [prolong(task) for _ in range(2)] == [False, False]

        task.refresh_from_db()
        assert task.waiting["code"] == "hold_runs_out"
        assert "are missing" in task.waiting["detail"]
        letter = Mail.objects.get(key__startswith="runs-out:")
        assert (letter.to, "are missing" in letter.body) == (alice.email, True)
        shown = api(alice).get(f"/api/v1/tasks/{task.pk}/").json()
        assert shown["hold_lasts_until"] is not None
        assert not Charge.objects.exists()

        has_run(rig, offer, 61 * MINUTES)
        rig.finish(offer, "TIMED_OUT", code="time_limit", elapsed_ms=61 * MINUTES)
        task.refresh_from_db()
        assert (task.status, task.failure_code) == ("FAILED", "hold_used_up")
        assert "are missing" in task.failure_detail
        assert (task.cost_microusd, wallet_of(alice.personal_account)) == (PRICE, (0, 0))

    def test_what_the_agent_does_not_end_is_ended(self, serving, rig):
        task, offer = serving(money=PRICE)
        has_run(rig, offer, 50 * MINUTES)
        prolong(task)
        has_run(rig, offer, 62 * MINUTES)
        for _ in range(2):
            sweep(now=clock.now())
        (stop,) = rig.sync()["stop"]
        assert stop["reason"] == "cancelled"
        rig.finish(offer, "CANCELLED", elapsed_ms=62 * MINUTES)
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.cost_microusd) == ("CANCELLED", "hold_used_up", PRICE)

    def test_what_stood_still_is_not_ended_before_its_time(self, serving, rig):
        task, offer = serving(money=PRICE)
        has_run(rig, offer, 50 * MINUTES)
        prolong(task)
        # Its host slept for a quarter of an hour: ten minutes of what is held are left.
        ago = clock.now() - timedelta(minutes=65)
        Attempt.objects.update(started_at=ago, runs_out_at=ago + timedelta(hours=1))
        rig.sync()
        for _ in range(2):
            sweep(now=clock.now())
        task.refresh_from_db()
        assert task.cancel_requested_at is None
        assert Attempt.objects.get().runs_out_at > clock.now() + timedelta(minutes=9)

    def test_money_that_comes_in_time_lets_it_go_on(self, serving, rig, alice):
        task, offer = serving(money=PRICE)
        has_run(rig, offer, 50 * MINUTES)
        assert not prolong(task)
        top_up(alice.personal_account, PRICE)
        assert prolong(task)
        task.refresh_from_db()
        assert (task.waiting, task.hold_warned_at, task.limit_ms) == (None, None, 2 * HOUR)

    def test_a_frozen_wallet_and_another_payer_end_it_too(self, serving, rig, alice):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        Balance.objects.filter(kind="wallet").update(frozen_out=True)
        assert not prolong(task)
        task.refresh_from_db()
        assert "frozen" in task.waiting["detail"]


class TestSubmitterGone:
    """What somebody left behind is paid for no further: it ends with the hour that is held."""

    @pytest.fixture
    def left_behind(self, lab, alice, bob, dana, rig):
        """Bob's, in the lab's account, which Alice owns."""
        top_up(lab, 5 * PRICE)
        task = an_approved_task(bob, dana, spec=SERVES, limit_ms=None, funding="wallet", account=lab)
        offer = running_on(rig)
        has_run(rig, offer, 50 * MINUTES)
        return task, offer

    @pytest.mark.parametrize(("how", "says"), [("left", "no more"), ("viewer", "no more"), ("off", "switched off")])
    def test_it_is_not_prolonged_and_who_manages_is_told(self, left_behind, alice, bob, lab, how, says):
        task, _ = left_behind
        mine = bob.memberships.filter(account=lab)
        if how == "left":
            mine.delete()
        elif how == "viewer":
            mine.update(role="VIEWER")
        else:
            User.objects.filter(pk=bob.pk).update(is_active=False)
        assert [prolong(task) for _ in range(2)] == [False, False]
        task.refresh_from_db()
        assert says in task.waiting["detail"]
        assert not Charge.objects.exists()
        letters = Mail.objects.filter(key__startswith="runs-out:")
        assert [(letter.to, says in letter.body) for letter in letters] == [(alice.email, True)]

    def test_it_ends_with_its_hour_and_says_why(self, left_behind, rig, bob, lab):
        task, offer = left_behind
        bob.memberships.filter(account=lab).delete()
        prolong(task)
        has_run(rig, offer, 61 * MINUTES)
        rig.finish(offer, "TIMED_OUT", code="time_limit", elapsed_ms=61 * MINUTES)
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.cost_microusd) == ("FAILED", "hold_used_up", PRICE)
        assert "no more" in task.failure_detail

    def test_it_goes_on_for_one_who_came_back_in_time(self, left_behind, bob, lab):
        task, _ = left_behind
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert not prolong(task)
        User.objects.filter(pk=bob.pk).update(is_active=True)
        assert prolong(task)


@pytest.mark.parametrize(("ahead", "ids"), [(900, []), (3600, ["tasks.W001"]), (4000, ["tasks.W001"])])
def test_paying_further_ahead_than_a_step_is_warned_of(settings, ahead, ids):
    settings.PROLONG_AHEAD_SECONDS = ahead
    assert [warning.id for warning in check_prolong_seconds()] == ids


class TestFaults:
    def test_case_19_a_lost_host_costs_what_was_charged_before_and_the_hold_stays(self, serving, rig, olga, alice):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        prolong(task)
        has_run(rig, offer, 80 * MINUTES)
        rig.finish(offer, "FAILED", fault="host", code="disk", elapsed_ms=80 * MINUTES)

        task.refresh_from_db()
        assert (task.status, task.gpu_ms) == ("APPROVED", 50 * MINUTES)
        again = running_on(rig)
        # What is left is what was held and not charged: the half hour on the broken host was free.
        assert again["limit_ms"] == 70 * MINUTES
        has_run(rig, again, 20 * MINUTES)
        rig.finish(again, elapsed_ms=20 * MINUTES)
        task.refresh_from_db()
        assert task.gpu_ms == 70 * MINUTES
        assert sum(Charge.objects.values_list("charge", flat=True)) == task.cost_microusd
        assert wallet_of(alice.personal_account)[1] == 0

    def test_submitted_again_it_goes_on_again(self, serving, rig, alice):
        task, offer = serving()
        rig.finish(offer, "FAILED", elapsed_ms=1000)
        task.refresh_from_db()
        again = services.retry(task, by=alice, now=clock.now())
        assert (again.is_open_ended, again.limit_ms) == (True, HOUR)

    def test_the_platforms_fault_pays_the_owner_the_rest_from_loss(self, serving, rig, olga):
        task, offer = serving()
        has_run(rig, offer, 50 * MINUTES)
        prolong(task)
        has_run(rig, offer, 80 * MINUTES)
        Attempt.objects.filter(pk=offer["id"]).update(elapsed_ms=80 * MINUTES)
        attempt, task = Attempt.objects.get(pk=offer["id"]), Task.objects.select_related("hold").get(pk=task.pk)
        Task.objects.filter(pk=task.pk).update(infra_failures=99)
        task.refresh_from_db()
        close(attempt, task, status="LOST", fault="platform", code="x", detail="", until=clock.now(), now=clock.now())
        worth = PRICE * 80 * MINUTES // HOUR
        assert earned(olga) == worth - worth // 10
        assert Charge.objects.get(part=2).from_loss > 0

    @pytest.mark.parametrize("funding", ["wallet", "quota"])
    @pytest.mark.parametrize("fault", ["user", "platform"])
    def test_the_books_are_sound_while_it_waits_for_another_try_and_after_it(self, serving, rig, fault, funding):
        task, offer = serving(retries=1, funding=funding)
        has_run(rig, offer, 50 * MINUTES)
        assert prolong(task)
        has_run(rig, offer, 80 * MINUTES)
        attempt, task = Attempt.objects.get(pk=offer["id"]), Task.objects.select_related("hold").get(pk=task.pk)
        about = {"status": "FAILED", "fault": fault, "code": "x", "detail": "", "elapsed_ms": 80 * MINUTES}
        close(attempt, task, until=clock.now(), now=clock.now(), **about)
        task.refresh_from_db()
        assert task.status == "APPROVED"
        assert [problem for result in check.run() for problem in result.problems] == []
        again = running_on(rig)
        rig.finish(again, elapsed_ms=1000)
        # Hours that the platform wasted cost nothing, and nobody is paid for them.
        is_charged = (fault, funding) != ("platform", "quota")
        assert Charge.objects.filter(attempt_id=offer["id"], part=2).exists() is is_charged
        assert [problem for result in check.run() for problem in result.problems] == []

    def test_a_retry_pays_for_its_first_attempt_too(self, serving, rig, alice):
        task, offer = serving(retries=1)
        has_run(rig, offer, 50 * MINUTES)
        prolong(task)
        has_run(rig, offer, 60 * MINUTES)
        rig.finish(offer, "FAILED", elapsed_ms=60 * MINUTES)
        again = running_on(rig)
        assert again["limit_ms"] == 2 * HOUR - Attempt.objects.get(pk=offer["id"]).metered_ms
        has_run(rig, again, 50 * MINUTES)
        assert prolong(task)
        rig.finish(again, elapsed_ms=51 * MINUTES)
        task.refresh_from_db()
        assert task.gpu_ms == sum(Attempt.objects.values_list("metered_ms", flat=True))


class TestCaps:
    @pytest.fixture
    def capped(self, pat, family, child, charlie, dana, rig):
        Account.objects.filter(pk=family.pk).update(pays_from="SELF")
        top_up(family, 10 * PRICE)
        set_cap(account=child, asset="USD", period=CapPeriod.DAY, limit=2 * PRICE, by=pat, now=clock.now())
        task = an_approved_task(charlie, dana, spec=SERVES, limit_ms=None, funding="wallet", account=child)
        return task, running_on(rig)

    def test_ancestors_caps_count_and_end_it(self, capped, rig):
        task, offer = capped
        has_run(rig, offer, 50 * MINUTES)
        assert prolong(task)
        assert Cap.objects.get().used == PRICE * 50 // 60 + -(-PRICE * 70 // 60)
        has_run(rig, offer, 110 * MINUTES)
        assert not prolong(task)
        task.refresh_from_db()
        assert "cap" in task.waiting["detail"]

    def test_another_period_counts_in_its_own_cap(self, capped, rig):
        task, offer = capped
        Cap.objects.update(starts_at=F("starts_at") - timedelta(days=1), ends_at=F("ends_at") - timedelta(days=1))
        has_run(rig, offer, 50 * MINUTES)
        assert prolong(task)
        used = dict(Cap.objects.values_list("starts_at", "used"))
        assert [used[at] for at in sorted(used)] == [PRICE * 50 // 60, -(-PRICE * 70 // 60)]
        assert sorted(Hold.objects.filter(purpose="task").values_list("state", flat=True)) == ["open", "released"]
        rig.finish(offer, elapsed_ms=55 * MINUTES)


class TestTasksWithAnEnd:
    def test_who_waits_for_a_long_one_is_told_before_its_limit(self, serving, rig, alice):
        task, offer = serving(limit_ms=HOUR)
        has_run(rig, offer, 50 * MINUTES)
        for _ in range(2):
            sweep(now=clock.now())
        task.refresh_from_db()
        assert task.waiting["code"] == "hold_runs_out"
        assert Mail.objects.filter(key__startswith="runs-out:").count() == 1
        rig.finish(offer, elapsed_ms=51 * MINUTES)
        task.refresh_from_db()
        assert task.waiting is None

    def test_a_short_one_tells_nobody(self, serving, rig):
        _, offer = serving(limit_ms=HOUR // 2)
        has_run(rig, offer, 29 * MINUTES)
        sweep(now=clock.now())
        assert not Mail.objects.filter(key__startswith="runs-out:").exists()

    def test_the_task_tells_how_long_its_hold_lasts(self, serving, rig, alice, api):
        task, offer = serving(limit_ms=HOUR)
        shown = api(alice).get(f"/api/v1/tasks/{task.pk}/").json()
        began = Attempt.objects.get().started_at
        assert shown["hold_lasts_until"] == (began + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        rig.finish(offer)
        assert api(alice).get(f"/api/v1/tasks/{task.pk}/").json()["hold_lasts_until"] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_of_many_at_once_one_prolongs(serving, rig):
    task, offer = serving()
    has_run(rig, offer, 50 * MINUTES)
    barrier, seen = Barrier(6), []

    def run():
        barrier.wait()
        seen.append(prolong(task))
        connection.close()

    threads = [Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [False] * 5 + [True]
    assert Charge.objects.count() == 1
    assert Task.objects.get().limit_ms == 2 * HOUR
