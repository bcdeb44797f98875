"""A task that pays with money, from the hold to the owner's earnings."""

from __future__ import annotations

import pytest

from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import platform_balance
from gaas.lib import clock
from gpus.models import GPU
from gpus.tests.fleet import a_device
from payments.models import Charge
from tasks import services
from tasks.models import AttemptGPU, Task
from tasks.tests.rig import (
    HOUR,
    Rig,
    an_approved_task,
    has_run_for,
    hours_of,
    offered_to,
    running_on,
    top_up,
    wallet_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

PRICE = 2_500_001  # micro-dollars an hour


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account, price_per_hour=PRICE)


@pytest.fixture
def task(alice, dana, rig):
    top_up(alice.personal_account, 20_000_000)
    return an_approved_task(alice, dana, funding="wallet")


def earned(user) -> int:
    kept = Balance.objects.filter(kind="earnings_pending", owner_key=user.personal_account.owner_key).first()
    return kept.posted if kept else 0


def fees() -> int:
    return platform_balance(asset="USD", kind="fees").total()


class TestSettlement:
    def test_the_owner_the_platform_and_the_payer_each_get_theirs(self, task, rig, alice, olga, api):
        assert wallet_of(alice.personal_account) == (20_000_000 - 2 * PRICE, 2 * PRICE)
        offer = running_on(rig)
        has_run_for(offer, 2_000)

        rig.finish(offer, elapsed_ms=1_234_567)

        charge = PRICE * 1_234_567 // HOUR
        fee = charge // 10
        assert (charge, fee) == (857_338, 85_733)
        row = Charge.objects.get()
        assert (row.charge, row.fee, row.owner_part, row.from_loss) == (charge, fee, charge - fee, 0)
        assert (row.price_per_hour, row.gpu_ms, row.funding) == (PRICE, 1_234_567, "wallet")
        assert (earned(olga), fees()) == (charge - fee, fee)
        assert wallet_of(alice.personal_account) == (20_000_000 - charge, 0)
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        body = api(alice).get(f"/api/v1/tasks/{task.pk}/").json()
        assert (body["cost_usd"], body["cost_microusd"], body["gpu_ms"]) == ("0.857338", charge, 1_234_567)

    def test_the_legs_share_the_hold(self, task, rig):
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.finish(offer, elapsed_ms=90_000)
        legs = Transfer.objects.filter(hold_id=task.hold_id)
        assert {(leg.kind, leg.group, leg.ref) for leg in legs} == {
            ("earning", f"task:{task.pk}", str(task.pk)),
            ("fee", f"task:{task.pk}", str(task.pk)),
        }

    def test_the_price_is_the_one_of_the_offer(self, task, rig):
        offer = running_on(rig)
        GPU.objects.get().offer(by=None, now=clock.now(), price_per_hour=9_000_000)
        has_run_for(offer, 100)
        rig.finish(offer, elapsed_ms=90_000)
        assert Charge.objects.get().charge == PRICE * 90_000 // HOUR

    def test_a_gang_is_charged_each_at_its_own_price(self, alice, dana, olga):
        top_up(alice.personal_account, 50_000_000)
        rig = Rig(olga.personal_account, a_device(index=0), a_device(index=1))
        prices = [1_000_003, 3_000_007]
        for gpu, price in zip(GPU.objects.select_related("host__account").order_by("index"), prices, strict=True):
            gpu.offer(by=None, now=clock.now(), price_per_hour=price)
        an_approved_task(alice, dana, funding="wallet", gpus=2)
        assert wallet_of(alice.personal_account)[1] == 4 * 3_000_007
        offer = running_on(rig)
        has_run_for(offer, 2_000)

        rig.finish(offer, elapsed_ms=1_000_001)

        charges = [price * 1_000_001 // HOUR for price in prices]
        assert sorted(Charge.objects.values_list("charge", flat=True)) == charges
        assert wallet_of(alice.personal_account) == (50_000_000 - sum(charges), 0)
        assert earned(olga) == sum(charge - charge // 10 for charge in charges)

    def test_an_owner_who_runs_an_own_task_pays_the_fee_alone(self, rig, olga, dana):
        top_up(olga.personal_account, 20_000_000)
        an_approved_task(olga, dana, funding="wallet")
        offer = running_on(rig)
        has_run_for(offer, 2_000)
        rig.finish(offer, elapsed_ms=HOUR // 2)
        assert wallet_of(olga.personal_account)[0] + earned(olga) + fees() == 20_000_000

    def test_the_whole_time_costs_no_more_than_the_hold(self, task, rig, alice):
        offer = running_on(rig)
        has_run_for(offer, 10_000)
        rig.finish(offer, "TIMED_OUT", code="time_limit", elapsed_ms=10**9)
        assert Charge.objects.get().charge == 2 * PRICE
        assert wallet_of(alice.personal_account) == (20_000_000 - 2 * PRICE, 0)

    def test_a_few_milliseconds_may_cost_nothing(self, task, rig, alice, olga):
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.finish(offer, elapsed_ms=1)
        assert (Charge.objects.get().charge, earned(olga), fees()) == (0, 0, 0)
        assert wallet_of(alice.personal_account) == (20_000_000, 0)

    @pytest.mark.parametrize("percent", ["0", "2.5", "100"])
    def test_the_fee_is_the_one_of_the_submit(self, rig, alice, dana, olga, settings, percent):
        settings.PLATFORM_FEE_PERCENT = percent
        top_up(alice.personal_account, 20_000_000)
        an_approved_task(alice, dana, funding="wallet")
        settings.PLATFORM_FEE_PERCENT = "50"
        offer = running_on(rig)
        has_run_for(offer, 2_000)
        rig.finish(offer, elapsed_ms=1_440_000)
        charge = 1_000_000
        assert fees() == {"0": 0, "2.5": 25_000, "100": 1_000_000}[percent]
        assert earned(olga) == charge - fees()


class TestNoCharge:
    def test_a_fault_of_the_host_costs_and_pays_nothing(self, task, rig, alice, olga):
        offer = running_on(rig)
        has_run_for(offer, 2_000)
        rig.finish(offer, "FAILED", fault="host", code="disk", elapsed_ms=HOUR // 2)
        task.refresh_from_db()
        services.cancel(task, by=alice, now=clock.now())
        assert (Charge.objects.count(), earned(olga), fees()) == (0, 0, 0)
        assert wallet_of(alice.personal_account) == (20_000_000, 0)

    def test_attempts_before_the_last_are_charged_at_their_own_prices(self, rig, alice, dana, olga):
        top_up(alice.personal_account, 20_000_000)
        task = an_approved_task(alice, dana, funding="wallet", retries=1, max_price_per_hour=4_000_000)
        first = running_on(rig)
        has_run_for(first, 1_000)
        rig.finish(first, "FAILED", elapsed_ms=360_000)
        GPU.objects.get().offer(by=None, now=clock.now(), price_per_hour=4_000_000)
        second = running_on(rig)
        has_run_for(second, 1_000)
        rig.finish(second, elapsed_ms=360_000)

        task.refresh_from_db()
        assert sorted(Charge.objects.values_list("charge", flat=True)) == [PRICE // 10, 400_000]
        assert (task.gpu_ms, task.cost_microusd) == (720_000, PRICE // 10 + 400_000)


class TestCeiling:
    def test_a_price_that_rose_above_it_is_not_offered(self, task, rig, alice):
        GPU.objects.get().offer(by=None, now=clock.now(), price_per_hour=PRICE + 1)
        assert services.schedule() == 0
        assert AttemptGPU.objects.count() == 0
        assert Task.objects.get().waiting["code"] == "too_dear"

    def test_a_price_that_fell_is_the_one_that_is_paid(self, task, rig):
        GPU.objects.get().offer(by=None, now=clock.now(), price_per_hour=1_000)
        offered_to(rig)
        assert AttemptGPU.objects.get().price_per_hour == 1_000
