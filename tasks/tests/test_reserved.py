"""Reserved hours as a third funding: on that owner's GPUs alone, from the bucket, and nobody is paid twice."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connections, transaction

from accounts.ledger.models import Hold, Transfer
from accounts.ledger.services import hold, release
from gaas.lib import clock
from gaas.lib.errors import DomainError, NotFound
from gpus.tests.fleet import a_device
from payments import services as payments
from payments.models import Charge
from payments.tests.deals import agreed, bring_on, has, rich
from tasks import services
from tasks.models import Attempt, Task
from tasks.tests.rig import HOUR, Rig, a_body, a_draft, an_approved_task, has_run_for, offered_to, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

USD = 1_000_000
# Not of another checkout's tests on the same server.
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def rig(olga):
    """Olga's host, which takes no quota."""
    from accounts.choices import Role
    from accounts.models import Account, Membership

    account = Account.objects.create(name="Olga's GPUs")
    Membership.objects.create(account=account, user=olga, role=Role.OWNER)
    return Rig(account, accepts_quota=False, price_per_hour=1)


@pytest.fixture
def other(dana):
    """Somebody else's host, open to everybody."""
    from accounts.models import Account

    return Rig(Account.objects.create(name="Others"), a_device(), name="other")


@pytest.fixture
def contract(lab, rig, alice, olga, settings):
    """Ten hours a month of Olga's GPUs for 20 dollars, paid for this month."""
    settings.PLATFORM_FEE_PERCENT = "10"
    rich(lab, usd=100)
    now = clock.now()
    made = agreed(
        "reservation", lab, rig.host.account, starts=f"{now:%Y-%m-%d}", at=now, by=alice, yes=olga, gpu_model="H100"
    )
    return bring_on(made, now)


def draft(lab, contract, **changes):
    return a_draft(account=lab, funding="reserved", contract_id=contract.pk, **changes)


class TestSubmit:
    def test_it_runs_there_is_charged_there_and_pays_nobody_again(self, lab, contract, rig, other, alice, dana):
        task = services.submit(draft(lab, contract), by=alice, now=clock.now())
        left = payments.left_of(contract)
        assert (left.available, left.held, task.gpu_model) == (8 * HOUR, 2 * HOUR, "H100")
        services.approve(task, by=dana, now=clock.now())
        offer = running_on(rig)
        has_run_for(offer, 1800)
        services.cancel(Task.objects.get(), by=alice, now=clock.now())
        rig.finish(offer)
        task = Task.objects.get()
        left = payments.left_of(contract)
        assert (left.available + task.gpu_ms, left.held) == (10 * HOUR, 0)
        assert task.gpu_ms > 0
        assert (has(rig.host.account, "earnings_pending"), has(lab, "wallet")) == (18, 80)
        charge = Charge.objects.get()
        assert (charge.funding, charge.charge, charge.gpu_ms) == ("reserved", 0, task.gpu_ms)
        assert Transfer.objects.filter(ref=str(task.pk)).get().kind == "usage"

    def test_only_that_owners_gpus_are_given(self, lab, contract, rig, other, alice, dana):
        rig.host.gpus.update(status="UNLISTED")
        an_approved_task(alice, dana, account=lab, funding="reserved", contract_id=contract.pk)
        services.sweep(now=clock.now())
        with pytest.raises(ValueError, match="not enough"):
            offered_to(other)
        assert Task.objects.get().waiting["code"] == "not_reserved"

    def test_case_63_reserved_bucket_over_used(self, lab, contract, alice):
        services.submit(draft(lab, contract, limit_ms=9 * HOUR), by=alice, now=clock.now())
        with pytest.raises(DomainError) as refusal:
            services.submit(draft(lab, contract, limit_ms=2 * HOUR), by=alice, now=clock.now())
        assert refusal.value.code == "insufficient_reserved_hours"
        assert Task.objects.count() == 1

    def test_a_child_that_its_payer_pays_for_may_use_it(self, lab, contract, alice, bob):
        from accounts.choices import PaysFrom
        from payments.tests.deals import a_branch

        branch = a_branch(lab, bob)
        type(branch).objects.filter(pk=branch.pk).update(pays_from=PaysFrom.PARENT)
        branch.refresh_from_db()
        assert services.submit(draft(branch, contract), by=bob, now=clock.now()).funding == "reserved"

    def test_nobody_elses(self, contract, charlie, alice):
        with pytest.raises(NotFound):
            services.submit(draft(None, contract), by=charlie, now=clock.now())

    @pytest.mark.parametrize("changes", [{"gpu_model": "A100"}])
    def test_not_for_other_gpus_than_reserved(self, lab, contract, alice, changes):
        with pytest.raises(DomainError) as refusal:
            services.submit(draft(lab, contract, **changes), by=alice, now=clock.now())
        assert refusal.value.attr == "gpu_model"

    def test_a_retry_is_paid_from_the_same(self, lab, contract, alice):
        task = services.submit(draft(lab, contract), by=alice, now=clock.now())
        services.cancel(task, by=alice, now=clock.now())
        again = services.retry(Task.objects.get(), by=alice, now=clock.now())
        assert (again.funding, again.contract_id) == ("reserved", contract.pk)


class TestSpentFirst:
    def test_a_task_that_names_the_owners_host_is_paid_from_it(self, lab, contract, rig, alice):
        for funding in ("quota", "wallet"):
            task = services.submit(
                a_draft(account=lab, funding=funding, host_id=rig.host.pk), by=alice, now=clock.now()
            )
            assert (task.funding, task.contract_id, task.max_price_per_hour) == ("reserved", contract.pk, None)

    def test_a_retry_asks_as_its_submitter_did(self, lab, contract, rig, alice):
        ask = a_draft(account=lab, funding="wallet", host_id=rig.host.pk, max_price_per_hour=7)
        task = services.submit(ask, by=alice, now=clock.now())
        assert task.funding == "reserved"
        services.cancel(task, by=alice, now=clock.now())
        again = services.retry(Task.objects.get(), by=alice, now=clock.now())
        assert (again.funding, again.contract_id) == ("reserved", contract.pk)
        services.cancel(again, by=alice, now=clock.now())
        held = hold(balance=payments.bucket_of(contract), amount=9 * HOUR, key="other", purpose="test")
        once_more = services.retry(Task.objects.get(pk=again.pk), by=alice, now=clock.now())
        release(hold_id=held.pk)
        assert (once_more.funding, once_more.contract_id, once_more.max_price_per_hour) == ("wallet", None, 7)

    def test_not_where_it_does_not_cover_the_whole(self, lab, contract, rig, alice):
        ask = a_draft(account=lab, funding="wallet", host_id=rig.host.pk, limit_ms=11 * HOUR)
        assert services.submit(ask, by=alice, now=clock.now()).funding == "wallet"

    def test_nor_where_it_might_run_elsewhere(self, lab, contract, rig, other, alice):
        assert services.submit(a_draft(account=lab, funding="wallet"), by=alice, now=clock.now()).funding == "wallet"
        ask = a_draft(account=lab, funding="wallet", host_id=other.host.pk)
        assert services.submit(ask, by=alice, now=clock.now()).funding == "wallet"


class TestEnded:
    @pytest.fixture
    def over(self, contract, rig, lab, alice):
        """Let the contract end while a task holds two of its hours; they come back later."""
        task = services.submit(draft(lab, contract), by=alice, now=clock.now())
        payments.cancel_contract(contract_id=contract.pk, by=alice, now=clock.now())
        late = clock.now() + timedelta(days=70)
        type(rig.host).objects.filter(pk=rig.host.pk).update(last_sync_at=late)
        ended = bring_on(contract, late)
        services.cancel(task, by=alice, now=late)
        left = payments.left_of(ended)
        assert (ended.status, left.available) == ("ENDED", 2 * HOUR)
        return ended, late

    def test_its_hours_are_not_named(self, over, lab, alice):
        contract, late = over
        with pytest.raises(DomainError) as refusal:
            services.submit(draft(lab, contract), by=alice, now=late)
        assert (refusal.value.code, refusal.value.attr) == ("contract_ended", "contract")

    def test_nor_spent_first(self, over, lab, rig, alice):
        _, late = over
        ask = a_draft(account=lab, funding="wallet", host_id=rig.host.pk, limit_ms=HOUR)
        assert services.submit(ask, by=alice, now=late).funding == "wallet"

    def test_those_of_its_last_period_are(self, contract, lab, alice):
        now = clock.now()
        type(contract).objects.filter(pk=contract.pk).update(status="ENDED", ended_at=now)
        assert services.submit(draft(lab, contract), by=alice, now=now).funding == "reserved"


class TestSomebodyIsQuicker:
    def test_a_cap_on_hours_is_not_met_by_who_asked_to_pay_money(self, lab, contract, rig, alice):
        from accounts.choices import CapPeriod
        from accounts.models import Account, Membership
        from accounts.services import set_cap

        above = Account.objects.create(name="Above")
        Membership.objects.create(account=above, user=alice, role="OWNER")
        Account.objects.filter(pk=lab.pk).update(parent=above, path=f"{above.path}{lab.pk}/")
        lab.refresh_from_db()
        set_cap(account=lab, asset="GPU", period=CapPeriod.DAY, limit=HOUR, by=alice, now=clock.now())
        ask = a_draft(account=lab, funding="wallet", host_id=rig.host.pk)
        assert services.submit(ask, by=alice, now=clock.now()).funding == "wallet"

    @pytest.mark.usefixtures("postgresql")
    @pytest.mark.django_db(transaction=True)
    def test_it_is_paid_as_it_asked(self, lab, contract, rig, alice):
        """Another takes the hours in a transaction that is not over when the task is planned."""
        outcomes = []

        def run():
            ask = a_draft(account=lab, funding="wallet", host_id=rig.host.pk)
            try:
                outcomes.append(services.submit(ask, by=alice, now=clock.now()).funding)
            except DomainError as refusal:
                outcomes.append(refusal.code)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        with transaction.atomic():
            hold(balance=payments.bucket_of(contract), amount=9 * HOUR, key="other", purpose="test")
            thread.start()
            with connections["default"].cursor() as cursor:
                for _ in range(600):
                    cursor.execute(WAITING)
                    if cursor.fetchone()[0] or outcomes:
                        break
                    time.sleep(0.1)
        thread.join()
        held = Hold.objects.get(key="other")
        release(hold_id=held.pk)
        assert outcomes == ["wallet"]


class TestOverHTTP:
    def test_the_quote_says_what_pays(self, api, lab, contract, rig, alice):
        body = a_body(account=str(lab.pk), funding="reserved", contract=str(contract.pk))
        quote = api(alice).post("/api/v1/tasks/quote/", body, format="json").json()
        assert (quote["funding"], quote["hours_held"], quote["available"], quote["gpus_fitting"]) == (
            "reserved",
            "2.000000",
            "10.000000",
            1,
        )
        hosted = a_body(account=str(lab.pk), funding="wallet", host=str(rig.host.pk))
        quote = api(alice).post("/api/v1/tasks/quote/", hosted, format="json").json()
        assert (quote["funding"], quote["contract"], quote["refusal"]) == ("reserved", str(contract.pk), None)
        made = api(alice).post("/api/v1/tasks/", body, format="json").json()
        assert (made["funding"], made["contract"], made["hours_held"]) == ("reserved", str(contract.pk), "2.000000")

    @pytest.mark.parametrize(
        "change",
        [
            {"funding": "reserved"},
            {"contract": "00000000-0000-7000-8000-00000000dead"},
            {"funding": "reserved", "contract": "mine"},
            {"funding": "reserved", "contract": "00000000-0000-7000-8000-00000000dead", "max_price_per_hour_usd": "1"},
        ],
    )
    def test_what_does_not_go_together(self, api, lab, alice, change):
        answer = api(alice).post("/api/v1/tasks/", a_body(account=str(lab.pk), **change), format="json")
        assert answer.status_code == 400


class TestWithoutAnEnd:
    def test_each_hour_comes_out_of_the_bucket_while_it_lasts(self, lab, contract, rig, alice, dana, olga):
        task = an_approved_task(
            alice,
            dana,
            account=lab,
            funding="reserved",
            contract_id=contract.pk,
            spec={"command": ["serve"], "serve": True},
            limit_ms=None,
        )
        offer = running_on(rig)

        def ran(minutes):
            began = clock.now() - timedelta(minutes=minutes)
            Attempt.objects.update(started_at=began)
            rig.held[offer["id"]]["elapsed_ms"] = minutes * HOUR // 60
            rig.sync()
            return services.prolong(task_id=task.pk, now=clock.now())

        left = payments.left_of(contract)
        assert (left.available, left.held) == (9 * HOUR, HOUR)
        assert ran(50)
        task.refresh_from_db()
        left = payments.left_of(contract)
        assert (left.posted, left.held, task.gpu_ms) == (10 * HOUR - task.gpu_ms, 2 * HOUR - task.gpu_ms, HOUR * 5 // 6)
        held = hold(balance=payments.bucket_of(contract), amount=left.available, key="other", purpose="test")
        assert not ran(110)
        task.refresh_from_db()
        assert "the contract has 0" in task.waiting["detail"]
        rig.finish(offer, "TIMED_OUT", code="time_limit", elapsed_ms=2 * HOUR + 1)
        task.refresh_from_db()
        release(hold_id=held.pk)
        left = payments.left_of(contract)
        assert (task.status, task.failure_code, left.held) == ("FAILED", "hold_used_up", 0)
        assert left.posted + task.gpu_ms == 10 * HOUR
        assert (task.cost_microusd, has(rig.host.account, "earnings_pending")) == (0, 18)
