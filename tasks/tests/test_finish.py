"""POST attempts/{id}/finish: how an attempt ended, and what becomes of its task."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gpus.tests.fleet import a_device
from payments.models import Charge
from tasks import services
from tasks.models import Attempt, AttemptGPU, Task
from tasks.tests.rig import (
    HOUR,
    Rig,
    an_approved_task,
    has_run_for,
    hours_of,
    offered_to,
    running_on,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice, dana):
    return an_approved_task(alice, dana)


@pytest.fixture
def offer(rig, task):
    """A program that has run for a hundred seconds by the database's clock."""
    offer = running_on(rig)
    has_run_for(offer, 100)
    return offer


class TestSuccess:
    def test_it_completes_and_settles(self, rig, task, offer, alice):
        assert rig.finish(offer, elapsed_ms=40_000, result={"sum": 55}, usage={"cpu_ms": 7}) == {
            "task_status": "COMPLETED"
        }

        task.refresh_from_db()
        attempt = Attempt.objects.get()
        assert (task.status, task.exit_code, task.result, task.gpu_ms) == ("COMPLETED", 0, {"sum": 55}, 40_000)
        assert (attempt.status, attempt.metered_ms, attempt.usage) == ("SUCCEEDED", 40_000, {"cpu_ms": 7})
        assert task.finished_at == attempt.ended_at
        assert hours_of(alice.personal_account) == (10 * HOUR - 40_000, 0)

    def test_the_gpu_is_free_for_the_next(self, rig, offer, alice, dana):
        rig.finish(offer)
        assert not AttemptGPU.objects.filter(is_open=True).exists()
        an_approved_task(alice, dana)
        assert offered_to(rig)["epoch"] == 1

    def test_it_writes_one_charge_a_gpu(self, alice, dana, olga):
        rig = Rig(olga.personal_account, a_device(index=0), a_device(index=1))
        task = an_approved_task(alice, dana, gpus=2, cost_code="P-7")
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.finish(offer, elapsed_ms=40_000)

        task.refresh_from_db()
        charges = Charge.objects.all()
        assert [(c.gpu_ms, c.charge, c.funding, c.cost_code) for c in charges] == [(40_000, 0, "quota", "P-7")] * 2
        assert {c.gpu_id for c in charges} == set(AttemptGPU.objects.values_list("gpu_id", flat=True))
        assert {(c.owner_account_id, c.payer_account_id, c.user_id) for c in charges} == {
            (olga.personal_account.pk, alice.personal_account.pk, str(alice.pk))
        }
        assert task.gpu_ms == 80_000
        assert hours_of(alice.personal_account) == (10 * HOUR - 80_000, 0)

    @pytest.mark.parametrize("result", [None, [], 0, "text", {"deep": {"er": [1.5, None]}}])
    def test_any_json_is_a_result(self, rig, task, offer, result):
        rig.finish(offer, result=result)
        task.refresh_from_db()
        assert task.result == result

    def test_a_result_beyond_its_size_is_refused(self, rig, offer):
        rig.finish(offer, result="x" * 140_000, status=400)
        assert Attempt.objects.get().is_open


class TestMetering:
    @pytest.mark.parametrize(
        ("ran_seconds", "elapsed_ms", "metered_ms"),
        [
            (100, 40_000, 40_000),  # the agent's own clock is the least
            (100, 10**9, 100_000),  # the database's clock bounds it
            (9_000, 10**12, 2 * HOUR),  # what is held bounds both
            (100, 0, 0),
        ],
    )
    def test_the_least_of_three_counts(self, rig, task, offer, alice, ran_seconds, elapsed_ms, metered_ms):
        has_run_for(offer, ran_seconds)
        rig.finish(offer, elapsed_ms=elapsed_ms)

        task.refresh_from_db()
        assert metered_ms <= task.gpu_ms < metered_ms + 2_000
        assert hours_of(alice.personal_account) == (10 * HOUR - task.gpu_ms, 0)

    def test_nothing_metered_is_nothing_charged(self, rig, offer, alice):
        rig.finish(offer, elapsed_ms=0)
        assert Charge.objects.count() == 0
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)


class TestClaims:
    """The server counted a hundred seconds."""

    def test_more_than_went_by_is_flagged_counted_and_not_charged(self, rig, task, offer, alice, olga, api):
        rig.finish(offer, elapsed_ms=110_000)

        task.refresh_from_db()
        assert 100_000 <= task.gpu_ms < 102_000
        host = api(olga).get(f"/api/v1/hosts/{rig.host_id}/").json()
        assert (host["overclaims"], [trouble["code"] for trouble in host["troubles"]]) == (1, ["elapsed_too_long"])
        assert host["overclaimed_at"]
        event = AuditEvent.objects.get(action="host.overclaim")
        assert event.after["claimed_ms"] == 110_000
        assert event.after["attempt"] == offer["id"]
        assert event.after["metered_ms"] == task.gpu_ms

    @pytest.mark.parametrize("elapsed_ms", [0, 40_000, 100_000, 104_000])
    def test_less_is_what_an_honest_agent_claims(self, rig, offer, elapsed_ms):
        rig.finish(offer, elapsed_ms=elapsed_ms)
        assert (rig.host.overclaims, rig.host.overclaimed_at) == (0, None)
        assert not AuditEvent.objects.filter(action="host.overclaim").exists()

    def test_a_second_of_a_short_one_is_nothing(self, rig, task):
        rig.finish(running_on(rig), elapsed_ms=1_500)
        assert rig.host.overclaims == 0

    def test_one_that_was_lost_is_flagged_too(self, rig, offer):
        rig.held[offer["id"]]["elapsed_ms"] = 10**9
        rig.sync()
        rig.held = {}
        rig.boot = "another boot"
        rig.sync()
        assert Attempt.objects.get().status == "LOST"
        assert (rig.host.overclaims, Charge.objects.count()) == (1, 0)

    def test_the_same_end_told_twice_counts_once(self, rig, offer):
        rig.finish(offer, elapsed_ms=10**9)
        rig.finish(offer, elapsed_ms=10**9)
        assert rig.host.overclaims == 1

    def test_its_owner_and_staff_see_it(self, rig, offer, olga, root, client):
        rig.finish(offer, elapsed_ms=10**9)
        client.force_login(root)
        said = "claimed over 5 % more time"
        assert said in client.get(f"/admin/gpus/host/{rig.host_id}/change/").content.decode()
        assert "elapsed too long" in client.get("/admin/gpus/host/").content.decode()
        client.force_login(olga)
        assert said in client.get(f"/hosts/{rig.host_id}/").content.decode()
        assert said in client.get("/hosts/").content.decode()


class TestIdempotence:
    def test_the_same_again_is_answered_as_the_first(self, rig, offer, alice):
        rig.finish(offer, elapsed_ms=40_000)
        assert rig.finish(offer, elapsed_ms=41_000) == {"task_status": "COMPLETED"}
        assert hours_of(alice.personal_account) == (10 * HOUR - 40_000, 0)
        assert Charge.objects.count() == 1

    @pytest.mark.parametrize("outcome", ["FAILED", "CANCELLED", "TIMED_OUT", "REFUSED"])
    def test_another_outcome_is_refused(self, rig, task, offer, outcome):
        rig.finish(offer)
        assert rig.finish(offer, outcome, status=409)["errors"][0]["code"] == "already_finished"
        task.refresh_from_db()
        assert task.status == "COMPLETED"

    def test_another_exit_code_is_refused(self, rig, offer):
        rig.finish(offer, "FAILED", exit_code=1)
        rig.finish(offer, "FAILED", exit_code=2, status=409)

    @pytest.mark.parametrize("outcome", ["SUCCEEDED", "FAILED", "TIMED_OUT", "REFUSED"])
    def test_what_was_taken_as_a_refusal_is_repeated_as_one(self, rig, task, outcome):
        offer = offered_to(rig)
        for _ in range(2):
            assert rig.finish(offer, outcome, exit_code=None) == {"task_status": "APPROVED"}
        assert Attempt.objects.get().status == "REFUSED"

    def test_a_lost_attempt_stays_lost(self, rig, offer):
        rig.boot, rig.session, rig.seq, rig.held = "boot-2", uuid4(), 0, {}
        rig.sync()
        assert rig.finish(offer, status=409)["errors"][0]["code"] == "lease_lost"

    @pytest.mark.parametrize("change", [{"epoch": 2}, {"epoch": 7}])
    def test_a_stale_epoch_has_lost_it(self, rig, offer, change):
        assert rig.finish(offer, **change, status=409)["errors"][0]["code"] == "lease_lost"
        assert Attempt.objects.get().is_open

    def test_a_foreign_host_has_lost_it(self, rig, offer, olga):
        thief = Rig(olga.personal_account, name="thief")
        assert thief.finish(offer, status=409)["errors"][0]["code"] == "lease_lost"


class TestLog:
    def test_it_waits_for_the_whole_log(self, rig, task, offer):
        rig.log(offer, b"one\n", 0)
        error = rig.finish(offer, log_size=8, status=409)["errors"][0]
        assert (error["code"], "4 of 8" in error["detail"]) == ("log_incomplete", True)
        assert Attempt.objects.get().is_open

        rig.log(offer, b"two\n", 4)
        assert rig.finish(offer, log_size=8) == {"task_status": "COMPLETED"}

    def test_a_lost_rest_is_told_and_shown(self, rig, offer):
        rig.log(offer, b"one\n", 0)
        rig.finish(offer, log_size=8, log_lost_from=4)
        assert Attempt.objects.get().log_lost_from == 4

    def test_what_is_said_to_be_there_must_be_there(self, rig, offer):
        assert rig.finish(offer, log_size=8, log_lost_from=5, status=409)["errors"][0]["code"] == "log_incomplete"


class TestUserFault:
    def test_it_fails_and_pays_for_what_ran(self, rig, task, offer, alice, api):
        rig.finish(offer, "FAILED", exit_code=3, detail="The program ended with exit code 3.", elapsed_ms=40_000)

        body = api(alice).get(f"/api/v1/tasks/{task.pk}/").json()
        assert (body["status"], body["exit_code"], body["gpu_ms"]) == ("FAILED", 3, 40_000)
        assert body["failure"] == {
            "code": "exit_code",
            "detail": "The program ended with exit code 3.",
            "fault": "user",
        }

    def test_the_time_limit_is_the_users(self, rig, task, offer, alice):
        has_run_for(offer, 7_300)
        rig.finish(offer, "TIMED_OUT", exit_code=None, code="time_limit", elapsed_ms=7_201_000)

        task.refresh_from_db()
        assert (task.status, task.failure_code, task.gpu_ms) == ("FAILED", "time_limit", 2 * HOUR)
        assert hours_of(alice.personal_account) == (8 * HOUR, 0)

    def test_an_end_without_a_name_gets_one(self, rig, task, offer):
        rig.finish(offer, "FAILED", code="", fault="none")
        task.refresh_from_db()
        assert (task.failure_code, task.failure_fault) == ("exit_code", "user")

    def test_retries_run_on_what_is_left_of_the_time(self, alice, dana, rig):
        task = an_approved_task(alice, dana, retries=2)
        for used in range(2):
            offer = running_on(rig)
            assert (offer["epoch"], offer["limit_ms"]) == (used + 1, 2 * HOUR - used * 60_000)
            has_run_for(offer, 100)
            assert rig.finish(offer, "FAILED", elapsed_ms=60_000) == {"task_status": "APPROVED"}
            assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.finish(offer, "FAILED", elapsed_ms=60_000)

        task.refresh_from_db()
        assert (task.status, task.user_failures, task.gpu_ms) == ("FAILED", 3, 180_000)
        assert hours_of(alice.personal_account) == (10 * HOUR - 180_000, 0)
        assert Charge.objects.count() == 3

    def test_without_time_left_there_is_no_retry(self, alice, dana, rig):
        task = an_approved_task(alice, dana, retries=2)
        offer = running_on(rig)
        has_run_for(offer, 7_300)
        rig.finish(offer, "FAILED", elapsed_ms=7_300_000)
        task.refresh_from_db()
        assert (task.status, task.user_failures) == ("FAILED", 1)


class TestHostFault:
    def test_it_is_free_and_queues_again(self, rig, task, offer, alice):
        assert rig.finish(offer, "FAILED", fault="host", code="disk") == {"task_status": "APPROVED"}

        task.refresh_from_db()
        assert (task.infra_failures, task.user_failures, task.epoch) == (1, 0, 1)
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)
        assert offered_to(rig)["epoch"] == 2

    def test_in_the_end_it_is_given_up_and_costs_nothing(self, rig, task, alice, settings):
        for _ in range(settings.INFRA_RETRIES + 1):
            offer = running_on(rig)
            has_run_for(offer, 100)
            rig.finish(offer, "FAILED", fault="host", code="disk", elapsed_ms=50_000)

        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("FAILED", "infrastructure", "host")
        assert (task.infra_failures, task.gpu_ms, Charge.objects.count()) == (6, 0, 0)
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_stop_that_nobody_asked_for_is_the_hosts(self, rig, task, offer, alice):
        assert rig.finish(offer, "CANCELLED", exit_code=143) == {"task_status": "APPROVED"}
        task.refresh_from_db()
        assert (task.infra_failures, task.user_failures) == (1, 0)

    def test_a_refusal_costs_nothing_and_counts_nothing(self, rig, task):
        offer = offered_to(rig)
        assert rig.finish(offer, "REFUSED", exit_code=None, code="no_gpu") == {"task_status": "APPROVED"}
        task.refresh_from_db()
        assert (task.infra_failures, task.user_failures) == (0, 0)
        assert services.schedule() == 0  # this host is not asked again for a while

    def test_what_cannot_be_prepared_by_the_users_fault_fails_and_costs_nothing(self, rig, task, alice):
        offer = offered_to(rig)
        rig.sync()
        end = {"fault": "user", "exit_code": None, "code": "image_not_found", "detail": "There is no such image."}
        assert rig.finish(offer, "REFUSED", **end) == {"task_status": "FAILED"}
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("FAILED", "image_not_found", "user")
        assert (task.gpu_ms, Charge.objects.count()) == (0, 0)
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_running_program_cannot_be_refused_any_more(self, rig, task, offer):
        rig.finish(offer, "REFUSED", fault="host", exit_code=None, code="x")
        assert Attempt.objects.get().status == "FAILED"
        task.refresh_from_db()
        assert task.infra_failures == 1


class TestTrust:
    def test_a_host_cannot_make_the_platform_pay_its_owner(self, alice, dana, olga):
        from tasks.tests.rig import top_up, wallet_of

        top_up(alice.personal_account, 10_000_000)
        rig = Rig(olga.personal_account, price_per_hour=3_600_000)
        task = an_approved_task(alice, dana, funding="wallet")
        offer = running_on(rig)
        has_run_for(offer, 100)
        services.cancel(Task.objects.get(), by=alice, now=clock.now())

        rig.finish(offer, "CANCELLED", fault="platform", elapsed_ms=100_000)

        task.refresh_from_db()
        assert (task.status, Charge.objects.filter(from_loss__gt=0).count()) == ("CANCELLED", 0)
        assert wallet_of(alice.personal_account)[1] == 0

    @pytest.mark.parametrize("fault", ["user", "host", "platform"])
    def test_a_success_is_nobodys_fault(self, rig, task, offer, fault):
        rig.finish(offer, fault=fault, elapsed_ms=40_000)
        task.refresh_from_db()
        assert (task.status, task.gpu_ms) == ("COMPLETED", 40_000)


class TestBadInput:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("epoch", 0),
            ("outcome", "DONE"),
            ("outcome", "LOST"),
            ("fault", "nobody"),
            ("exit_code", "0"),
            ("exit_code", 2**40),
            ("elapsed_ms", -1),
            ("elapsed_ms", 1.5),
            ("elapsed_ms", 2**60),
            ("elapsed_ms", 2**63),
            ("elapsed_ms", 2**64),
            ("elapsed_ms", 10**400),
            ("elapsed_ms", True),
            ("log_size", -1),
            ("log_sha256", "xyz"),
            ("code", "x" * 65),
            ("detail", "a\x07"),
            ("usage", []),
            ("log_lost_from", -1),
        ],
    )
    def test_it_names_the_field(self, rig, offer, field, value):
        body = rig.finish(offer, status=400, **{field: value})
        assert body["errors"][0]["attr"] == field
        assert Attempt.objects.get().is_open
