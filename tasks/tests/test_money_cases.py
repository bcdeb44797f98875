"""Cases 15 to 20 of the list of money failures, each under its number; 17 and 19 of tasks that go on: test_going_on."""

from __future__ import annotations

import pytest
from django.db.models import ProtectedError

from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import platform_balance
from gaas.lib import clock
from gpus.models import GPU
from payments.models import Charge
from tasks.choices import Fault
from tasks.models import Attempt, Task
from tasks.services.attempts import close
from tasks.tests.rig import HOUR, Rig, an_approved_task, has_run_for, offered_to, running_on, top_up, wallet_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

PRICE = 2_000_000


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account, price_per_hour=PRICE)


@pytest.fixture
def task(alice, dana, rig):
    top_up(alice.personal_account, 20_000_000)
    return an_approved_task(alice, dana, funding="wallet")


def earned(user):
    kept = Balance.objects.filter(kind="earnings_pending", owner_key=user.personal_account.owner_key).first()
    return kept.posted if kept else 0


def fees():
    return platform_balance(asset="USD", kind="fees").total()


def lose(attempt, task, *, fault):
    """Give an attempt up, as the sweep does with a host that is silent."""
    now = clock.now()
    close(attempt, task, status="LOST", fault=fault, code="host_lost", detail="", until=now, now=now)


class TestCase15:
    @pytest.mark.parametrize(("price", "paid"), [(PRICE // 2, PRICE // 2), (PRICE * 2, PRICE)])
    def test_case_15_price_changed_between_submit_and_end(self, task, rig, alice, price, paid):
        """A price that fell before the offer is the one that is paid; one that rises after it changes nothing."""

        def reprice(amount):
            GPU.objects.select_related("host__account").get().offer(by=None, now=clock.now(), price_per_hour=amount)

        if price < PRICE:
            reprice(price)
        offer = offered_to(rig)
        rig.start(offer)
        reprice(price)
        has_run_for(offer, 4_000)
        rig.finish(offer, elapsed_ms=HOUR)
        assert Charge.objects.get().charge == paid
        assert wallet_of(alice.personal_account) == (20_000_000 - paid, 0)


class TestCase16:
    @pytest.mark.parametrize(
        ("percent", "ms", "charge", "fee"),
        [
            ("0", HOUR, PRICE, 0),
            ("100", HOUR, PRICE, PRICE),
            # One micro-dollar: the part of it that is the fee is rounded down, so the owner has it.
            ("10", 1_800, 1_000, 100),
            ("10", 2, 1, 0),
            ("100", 2, 1, 1),
            ("99.99", 2, 1, 0),
        ],
    )
    def test_case_16_fee_0_100_and_1_micro_charge(self, alice, dana, olga, rig, settings, percent, ms, charge, fee):
        settings.PLATFORM_FEE_PERCENT = percent
        top_up(alice.personal_account, 20_000_000)
        an_approved_task(alice, dana, funding="wallet")
        offer = running_on(rig)
        has_run_for(offer, 4_000)
        rig.finish(offer, elapsed_ms=ms)
        row = Charge.objects.get()
        assert (row.charge, row.fee, row.owner_part) == (charge, fee, charge - fee)
        assert (fees(), earned(olga)) == (fee, charge - fee)
        assert not Transfer.objects.filter(amount=0).exists()


class TestCase17:
    def test_case_17_meter_goes_backwards_repeats_and_arrives_after_the_end(self, task, rig, alice):
        offer = running_on(rig)
        has_run_for(offer, 4_000)
        for elapsed in (600_000, 600_000, 5_000):
            rig.held[offer["id"]]["elapsed_ms"] = elapsed
            rig.sync()
        assert Attempt.objects.get().elapsed_ms == 600_000
        rig.finish(offer, elapsed_ms=700_000)
        rig.finish(offer, elapsed_ms=900_000)
        rig.held[offer["id"]] = {"id": offer["id"], "epoch": 1, "state": "RUNNING", "elapsed_ms": 3_000_000}
        assert [stop["verdict"] for stop in rig.sync()["stop"]] == ["discard"]
        assert Charge.objects.get().gpu_ms == 700_000

    def test_case_17_two_attempts_overlap(self, alice, dana, olga, rig):
        """The first host was given up and goes on by itself; its program's time is nobody's, whatever it reports."""
        top_up(alice.personal_account, 20_000_000)
        an_approved_task(alice, dana, funding="wallet")
        first = running_on(rig)
        has_run_for(first, 4_000)
        attempt = Attempt.objects.get()
        lost = Task.objects.select_related("hold").get()
        lose(attempt, lost, fault=Fault.HOST)
        other = Rig(olga.personal_account, name="other", price_per_hour=PRICE)
        GPU.objects.filter(host=rig.host).update(status="UNLISTED")
        second = running_on(other)
        has_run_for(second, 4_000)
        rig.finish(first, elapsed_ms=3_000_000, status=409)
        other.finish(second, elapsed_ms=1_800_000)
        assert [row.attempt_id for row in Charge.objects.all()] == [Attempt.objects.get(epoch=2).pk]
        assert wallet_of(alice.personal_account) == (20_000_000 - PRICE // 2, 0)


class TestCase18:
    def test_case_18_overrun_above_the_hold(self, task, rig, alice, olga):
        offer = running_on(rig)
        has_run_for(offer, 100_000)
        rig.finish(offer, "TIMED_OUT", code="time_limit", elapsed_ms=100_000_000)
        assert Charge.objects.get().charge == 2 * PRICE
        assert wallet_of(alice.personal_account) == (20_000_000 - 2 * PRICE, 0)


class TestCase19:
    @pytest.mark.parametrize(("fault", "is_paid"), [(Fault.HOST, False), (Fault.PLATFORM, True)])
    def test_case_19_requeue_after_a_node_failure(self, task, rig, alice, olga, fault, is_paid):
        hold_id = task.hold_id
        first = running_on(rig)
        has_run_for(first, 1_800)
        Attempt.objects.update(elapsed_ms=1_800_000)
        broken = Task.objects.select_related("hold").get()
        lose(Attempt.objects.get(), broken, fault=fault)
        broken.refresh_from_db()
        assert (broken.status, broken.hold_id, broken.hold.open_amount) == ("APPROVED", hold_id, 2 * PRICE)
        assert not Transfer.objects.filter(hold=hold_id).exists()

        rig.held.clear()
        second = running_on(rig)
        assert second["limit_ms"] == 2 * HOUR
        has_run_for(second, 4_000)
        rig.finish(second, elapsed_ms=HOUR)
        half = PRICE // 2
        assert earned(olga) == PRICE - PRICE // 10 + (half - half // 10 if is_paid else 0)
        assert wallet_of(alice.personal_account) == (20_000_000 - PRICE, 0)
        assert Transfer.objects.filter(kind="loss").count() == int(is_paid)


class TestCase20:
    def test_case_20_a_user_with_a_balance_is_switched_off_and_never_removed(self, task, rig, alice, root):
        """Switching somebody off is all there is: no money may lose its owner, and what runs is still settled."""
        offer = running_on(rig)
        alice.switch_off(by=root, reason="Left.", now=clock.now())
        has_run_for(offer, 4_000)
        rig.finish(offer, elapsed_ms=HOUR)
        assert wallet_of(alice.personal_account) == (20_000_000 - PRICE, 0)
        with pytest.raises(ProtectedError):
            alice.delete()
        assert wallet_of(alice.personal_account) == (20_000_000 - PRICE, 0)
