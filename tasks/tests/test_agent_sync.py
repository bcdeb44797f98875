"""POST sync: what a host holds comes in, what it should hold goes out."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection

from accounts import services as accounts
from gaas.lib import clock, tickets
from gpus.tests.fleet import a_device, some_facts
from tasks import services
from tasks.agent_api.serializers import SyncInput
from tasks.models import Attempt, AttemptGPU, Scheduler, Task
from tasks.services.sync import _gone
from tasks.tests.rig import (
    HOUR,
    Rig,
    an_approved_task,
    has_run_for,
    hours_of,
    offered_to,
    refused,
    running_on,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice, dana):
    return an_approved_task(alice, dana, env={"A": "b"})


class TestOffer:
    def test_it_carries_all_that_a_run_needs(self, rig, task):
        services.schedule()

        answer = rig.sync()

        (offer,) = answer["attempts"]
        gpu = AttemptGPU.objects.get().gpu
        assert offer == {
            "id": str(Attempt.objects.get().pk),
            "epoch": 1,
            "task_id": str(task.pk),
            "title": task.title,
            "kind": "script",
            "executor": "process",
            "payload": {"command": ["true"], "network": False},
            "env": {"A": "b"},
            "secrets": {},
            "gpu_uuids": [gpu.uuid],
            "limit_ms": 2 * HOUR,
            "open_ended": False,
            "grace_ms": 10_000,
            "log_offset": 0,
            "registry": None,
            "max_log_bytes": 64 * 1024 * 1024,
            "inputs": [],
            "checkpoint": [],
            "max_artifacts": 1000,
            "max_file_bytes": 20 * 1024**3,
            "checkpoint_seconds": 300,
        }
        assert (answer["stop"], answer["host_status"], answer["revision"]) == ([], "ACTIVE", rig.host.revision)

    def test_a_slurm_partition_gets_programs_as_jobs_and_no_images(self, rig, task, alice, dana):
        facts = some_facts(executors=["slurm"]).to_wire()
        rig.sync(facts=facts)
        an_approved_task(alice, dana, spec={"command": ["true"], "image": "debian"}, limit_ms=HOUR)
        services.schedule()

        (offer,) = rig.sync(facts=facts)["attempts"]

        assert (offer["task_id"], offer["executor"]) == (str(task.pk), "slurm")

    def test_it_brings_the_log_in_of_the_images_registry_until_it_has_started(self, rig, alice, dana):
        login = {"server": "ghcr.io", "username": "robot", "password": "a-token"}
        accounts.set_registry_login(account=alice.personal_account, by=alice, **login)
        spec = {"command": ["true"], "image": "ghcr.io/lab/train:2"}
        both = some_facts(executors=["process", "container"]).to_wire()
        rig.sync(facts=both)
        an_approved_task(alice, dana, spec=spec)
        services.schedule()
        (offer,) = rig.sync(facts=both)["attempts"]
        assert (offer["executor"], offer["registry"]) == ("container", login)
        rig.held[offer["id"]] = {"id": offer["id"], "epoch": offer["epoch"], "state": "PREPARING"}
        assert rig.sync(facts=both)["attempts"][0]["registry"] == login
        rig.start(offer)
        assert rig.sync(facts=both)["attempts"][0]["registry"] is None

    def test_no_other_registry_gets_it(self, rig, alice, dana):
        accounts.set_registry_login(
            account=alice.personal_account, by=alice, server="ghcr.io", username="robot", password="a-token"
        )
        both = some_facts(executors=["process", "container"]).to_wire()
        rig.sync(facts=both)
        an_approved_task(alice, dana, spec={"command": ["true"], "image": "ghcr.io.evil.example/lab/train:2"})
        services.schedule()
        assert rig.sync(facts=both)["attempts"][0]["registry"] is None

    def test_it_names_the_timers_and_a_ticket_for_the_wait(self, rig, settings):
        answer = rig.sync()

        assert answer["timers"]["lease_seconds"] == settings.LEASE_SECONDS
        assert answer["timers"]["fence_seconds"] == 60 + 300 - 30
        assert tickets.read(purpose="wait", ticket=answer["ticket"]) == str(rig.host_id)

    def test_it_is_repeated_until_it_is_taken(self, rig, task):
        services.schedule()
        assert rig.sync()["attempts"] == rig.sync()["attempts"] != []
        assert Attempt.objects.get().status == "OFFERED"

    def test_it_goes_to_no_other_host(self, rig, task, olga):
        services.schedule()
        assert Rig(olga.personal_account, name="other").sync()["attempts"] == []


class TestAcknowledge:
    def test_a_host_that_holds_it_has_taken_it(self, rig, task):
        offered_to(rig)

        answer = rig.sync()

        attempt = Attempt.objects.get()
        assert (attempt.status, attempt.prepared_from) == ("PREPARING", attempt.acked_at)
        assert [a["id"] for a in answer["attempts"]] == [str(attempt.pk)]

    def test_what_the_host_does_before_the_start_is_shown_until_it_is_done(self, rig, task, alice, api):
        offer = offered_to(rig)
        rig.held[offer["id"]] |= {"phase": {"text": "Pulling image", "percent": 40}}
        rig.sync()
        (shown,) = api(alice).get(f"/api/v1/tasks/{task.pk}/attempts/").json()["results"]
        assert (shown["status"], shown["phase"]) == ("PREPARING", {"text": "Pulling image", "percent": 40})
        rig.held[offer["id"]] |= {"phase": None}
        rig.start(offer)
        rig.sync()
        (shown,) = api(alice).get(f"/api/v1/tasks/{task.pk}/attempts/").json()["results"]
        assert (shown["status"], shown["phase"]) == ("RUNNING", None)

    def test_time_and_progress_of_a_running_attempt_are_kept(self, rig, task, alice, api):
        offer = running_on(rig)
        rig.held[offer["id"]] |= {"elapsed_ms": 5_000, "progress": {"step": 1, "of": 4, "metrics": {"loss": 0.5}}}
        rig.sync()
        rig.held[offer["id"]] |= {"elapsed_ms": 4_000, "progress": None}
        rig.sync()

        attempt = Attempt.objects.get()
        assert (attempt.elapsed_ms, attempt.progress["step"]) == (5_000, 1)
        assert api(alice).get(f"/api/v1/tasks/{task.pk}/").json()["progress"]["of"] == 4

    def test_the_log_goes_on_where_the_server_has_it(self, rig, task):
        offer = running_on(rig)
        rig.log(offer, b"hello\n", 0)
        assert rig.sync()["attempts"][0]["log_offset"] == 6


class TestStop:
    def test_a_stale_epoch_is_discarded(self, rig, task):
        offer = running_on(rig)
        rig.held["old"] = {"id": offer["id"], "epoch": offer["epoch"] + 1, "state": "RUNNING"}

        (stop,) = rig.sync()["stop"]
        assert (stop["id"], stop["epoch"], stop["verdict"], stop["reason"]) == (offer["id"], 2, "discard", "lease_lost")

    def test_an_attempt_of_another_host_is_discarded(self, rig, task, olga):
        offer = running_on(rig)
        thief = Rig(olga.personal_account, name="thief")
        thief.held[offer["id"]] = {"id": offer["id"], "epoch": offer["epoch"], "state": "RUNNING", "elapsed_ms": 10**9}

        answer = thief.sync()

        assert ([s["verdict"] for s in answer["stop"]], answer["attempts"]) == (["discard"], [])
        assert Attempt.objects.get().elapsed_ms == 0

    def test_an_attempt_that_never_was_is_discarded(self, rig):
        rig.held["x"] = {"id": str(uuid4()), "epoch": 1, "state": "ENDED"}
        assert [s["verdict"] for s in rig.sync()["stop"]] == ["discard"]

    def test_a_withdrawn_offer_is_discarded(self, rig, task):
        offer = offered_to(rig)
        rig.finish(offer, "REFUSED", exit_code=None)
        rig.held[offer["id"]] = {"id": offer["id"], "epoch": offer["epoch"], "state": "PREPARING"}

        assert [s["verdict"] for s in rig.sync()["stop"]] == ["discard"]


class TestLost:
    def test_a_new_boot_voids_what_the_old_one_held(self, rig, task, alice):
        offer = running_on(rig)
        has_run_for(offer, 500)
        rig.sync()
        rig.boot, rig.session, rig.seq, rig.held = "boot-2", uuid4(), 0, {}

        answer = rig.sync()

        attempt, task = Attempt.objects.get(), Task.objects.get()
        assert answer["attempts"] == []
        assert (attempt.status, attempt.fault, attempt.failure_code) == ("LOST", "host", "host_restarted")
        assert (task.status, task.infra_failures, task.gpu_ms) == ("APPROVED", 1, 0)
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)
        assert not AttemptGPU.objects.filter(is_open=True).exists()

    def test_a_new_boot_leaves_a_fresh_offer_alone(self, rig, task):
        services.schedule()
        rig.boot, rig.session, rig.seq = "boot-2", uuid4(), 0

        assert len(rig.sync()["attempts"]) == 1

    def test_an_agent_that_lost_its_memory_loses_what_ran(self, rig, task):
        running_on(rig)
        rig.held = {}

        rig.sync()

        attempt = Attempt.objects.get()
        assert (attempt.status, attempt.failure_code) == ("LOST", "agent_lost_state")
        assert Task.objects.get().status == "APPROVED"

    def test_an_agent_that_forgot_what_it_prepared_loses_it(self, rig, task):
        offered_to(rig)
        rig.sync()
        rig.held.clear()

        rig.sync()

        attempt = Attempt.objects.get()
        assert (attempt.status, attempt.failure_code) == ("LOST", "agent_lost_state")
        task.refresh_from_db()
        assert (task.status, task.infra_failures) == ("APPROVED", 0)

    def test_a_report_that_a_later_one_overtook_proves_nothing(self, rig, task):
        overtaken = SyncInput(data=rig.body())
        assert overtaken.is_valid()
        offered_to(rig)
        rig.sync()

        gone = _gone(list(Attempt.objects.open()), set(), overtaken.report(), is_new_boot=False)

        assert (gone, Attempt.objects.get().status) == ([], "PREPARING")

    def test_a_report_made_before_the_start_proves_nothing(self, rig, task):
        offer = offered_to(rig)
        body = {"epoch": 1, "session": str(rig.session), "seq": rig.seq + 1}
        rig.call(f"attempts/{offer['id']}/start", body)
        rig.held = {}

        rig.sync()

        assert Attempt.objects.get().status == "RUNNING"

    def test_an_agent_that_came_back_with_its_memory_goes_on(self, rig, task, settings):
        from datetime import timedelta

        from gpus.models import Host

        offer = running_on(rig)
        Host.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
        rig.session, rig.seq = uuid4(), 0

        assert [a["id"] for a in rig.sync()["attempts"]] == [offer["id"]]
        assert Attempt.objects.get().status == "RUNNING"
        assert rig.finish(offer)["task_status"] == "COMPLETED"


class TestWake:
    def test_a_host_that_is_back_wakes_the_matcher(self, rig, django_capture_on_commit_callbacks):
        from gpus.models import Host

        Host.objects.update(lease_expires_at=clock.now())
        before = Scheduler.objects.get().requested
        with django_capture_on_commit_callbacks(execute=True):
            rig.sync()
        assert Scheduler.objects.get().requested == before + 1

    def test_a_sync_with_no_news_wakes_nobody(self, rig, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks() as callbacks:
            rig.sync()
        assert callbacks == []


class TestRefusals:
    def test_a_second_agent_is_a_session_conflict(self, rig):
        refused(
            rig.http.post("/api/agent/v1/sync", rig.body(session=str(uuid4())), format="json"), 409, "session_conflict"
        )

    def test_an_older_sync_is_stale(self, rig):
        refused(rig.http.post("/api/agent/v1/sync", rig.body(seq=1), format="json"), 409, "stale_seq")

    def test_a_host_that_reports_only_gpus_of_others_is_refused(self, rig, olga):
        other = Rig(olga.personal_account, name="other")
        error = refused(
            other.http.post("/api/agent/v1/sync", other.body(gpus=[rig.devices[0].to_wire()]), format="json"),
            409,
            "gpu_of_another_host",
        )
        assert error["attr"] == "gpus"

    @pytest.mark.parametrize(("protocol", "said"), [(0, "install a newer agent"), (99, "99")])
    def test_an_agent_of_another_age_is_told_what_to_do_and_keeps_its_attempt(self, rig, task, protocol, said):
        offer = running_on(rig)
        answer = rig.http.post("/api/agent/v1/sync", rig.body(protocol=protocol), format="json")
        assert said in refused(answer, 400, "protocol_unsupported", "protocol")["detail"]
        assert Attempt.objects.get().status == "RUNNING"
        assert [item["id"] for item in rig.sync()["attempts"]] == [offer["id"]]

    @pytest.mark.parametrize("elapsed_ms", [2**63, 10**400, -1, "1", 1.5])
    def test_an_elapsed_time_that_cannot_be_is_refused_and_stored_nowhere(self, rig, task, elapsed_ms):
        offer = running_on(rig)
        held = [{**rig.held[offer["id"]], "elapsed_ms": elapsed_ms}]
        answer = rig.http.post("/api/agent/v1/sync", rig.body(attempts=held), format="json")
        assert "elapsed_ms" in refused(answer, 400)["attr"]
        assert Attempt.objects.get().elapsed_ms == 0

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("session", "x"),
            ("seq", 0),
            ("seq", "5"),
            ("boot_id", None),
            ("facts", []),
            ("gpus", {}),
            ("attempts", [{"id": "x", "epoch": 1, "state": "RUNNING"}]),
            ("attempts", [{"id": str(uuid4()), "epoch": 0, "state": "RUNNING"}]),
            ("attempts", [{"id": str(uuid4()), "epoch": 1, "state": "DONE"}]),
            ("attempts", [{"id": str(uuid4()), "epoch": 1, "state": "RUNNING", "progress": "half"}]),
            (
                "attempts",
                [{"id": str(uuid4()), "epoch": 1, "state": "RUNNING", "phase": {"text": "x", "percent": "nan"}}],
            ),
            ("attempts", [{"id": str(uuid4()), "epoch": 1, "state": "RUNNING", "phase": {"percent": 1}}]),
            ("attempts", [{"id": str(uuid4()), "epoch": 1, "state": "RUNNING", "progress": {"a": "x" * 9000}}]),
        ],
    )
    def test_it_names_bad_input(self, rig, field, value):
        answer = rig.http.post("/api/agent/v1/sync", rig.body(**{field: value}), format="json")
        assert refused(answer, 400)["attr"].startswith(field)

    def test_a_bad_metric_is_dropped_and_named(self, rig):
        answer = rig.sync(metrics=[{"uuid": rig.devices[0].uuid, "utilisation_percent": "hot"}, "nonsense"])
        assert answer["warnings"]


class TestQueries:
    """Syncs come every few seconds from every host: their cost is what limits a server."""

    def test_an_idle_host_costs_little(self, rig, django_assert_num_queries):
        rig.sync()
        body = rig.body()
        # Authentication, clock (PostgreSQL), the conditional UPDATE, open attempts.
        with django_assert_num_queries(3 + (connection.vendor == "postgresql")):
            rig.http.post("/api/agent/v1/sync", body, format="json")

    def test_eight_attempts_cost_as_little_as_one(self, alice, dana, olga, django_assert_num_queries):
        rig = Rig(olga.personal_account, *[a_device(index=i) for i in range(8)])
        for _ in range(8):
            an_approved_task(alice, dana, limit_ms=HOUR)
        services.schedule()
        for offer in rig.sync()["attempts"]:
            rig.held[offer["id"]] = {"id": offer["id"], "epoch": 1, "state": "PREPARING"}
            rig.start(offer)
        rig.sync()
        body = rig.body()
        # The above, the GPUs of the attempts (2), and one acknowledgement of all.
        with django_assert_num_queries(6 + (connection.vendor == "postgresql")):
            answer = rig.http.post("/api/agent/v1/sync", body, format="json")
        assert len(answer.json()["attempts"]) == 8
