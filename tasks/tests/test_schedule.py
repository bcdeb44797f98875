"""The matcher: what is offered to whom, and why the rest waits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from gaas.lib import clock
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device
from tasks import services
from tasks.models import Attempt, AttemptGPU, Scheduler, Task
from tasks.services import dispatch
from tasks.tests.rig import HOUR, Rig, a_draft, an_approved_task, offered_to, running_on, top_up

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def waiting(task) -> str | None:
    task.refresh_from_db()
    return task.waiting and task.waiting["code"]


class TestOffer:
    def test_it_writes_the_attempt_and_wakes_the_host(self, alice, dana, olga):
        rig = Rig(olga.personal_account, price_per_hour=7)
        task = an_approved_task(alice, dana)
        revision = rig.host.revision

        assert services.schedule() == 1

        task.refresh_from_db()
        attempt = Attempt.objects.get()
        assert (task.status, task.epoch, task.waiting) == ("ASSIGNED", 1, None)
        assert (attempt.task, attempt.epoch, attempt.status, attempt.limit_ms) == (task, 1, "OFFERED", 2 * HOUR)
        assert (AttemptGPU.objects.get().price_per_hour, AttemptGPU.objects.get().is_open) == (7, True)
        assert rig.host.revision == revision + 1
        assert task.events.order_by("-id").first().reason == "Offered to rig."

    def test_it_leaves_what_is_not_approved(self, alice, olga):
        Rig(olga.personal_account)
        services.submit(a_draft(), by=alice, now=clock.now())
        assert services.schedule() == 0

    def test_a_gpu_is_given_once(self, alice, dana, olga):
        Rig(olga.personal_account)
        tasks = [an_approved_task(alice, dana, limit_ms=HOUR) for _ in range(3)]

        assert (services.schedule(), services.schedule()) == (1, 0)

        tasks[0].refresh_from_db()
        assert tasks[0].status == "ASSIGNED"
        assert [waiting(task) for task in tasks[1:]] == ["all_busy", "all_busy"]

    def test_what_was_freed_goes_to_the_next(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        _, second = (an_approved_task(alice, dana, limit_ms=HOUR) for _ in range(2))
        rig.finish(running_on(rig))
        assert offered_to(rig)["task_id"] == str(second.pk)

    def test_a_reason_is_written_once_for_all_that_share_it(self, alice, dana, django_assert_max_num_queries):
        for _ in range(5):
            an_approved_task(alice, dana, limit_ms=HOUR)
        with django_assert_max_num_queries(14):
            services.schedule()
        assert Task.objects.filter(waiting__code="no_gpus").count() == 5


class TestOrder:
    def test_priority_goes_before_age(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        an_approved_task(alice, dana, limit_ms=HOUR)
        late = services.submit(a_draft(limit_ms=HOUR), by=alice, now=clock.now())
        services.approve(late, by=dana, priority=1, now=clock.now())

        assert offered_to(rig)["task_id"] == str(late.pk)

    def test_age_decides_among_equals(self, alice, bob, dana, olga):
        rig = Rig(olga.personal_account)
        first = services.submit(a_draft(limit_ms=HOUR), by=alice, now=clock.now())
        an_approved_task(bob, dana, limit_ms=HOUR)
        services.approve(first, by=dana, now=clock.now())  # approved later, submitted earlier

        assert offered_to(rig)["task_id"] == str(first.pk)

    def test_low_priority_waits(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        an_approved_task(alice, dana, limit_ms=HOUR, priority=-1)
        normal = an_approved_task(alice, dana, limit_ms=HOUR)
        assert offered_to(rig)["task_id"] == str(normal.pk)

    def test_what_nothing_fits_keeps_nobody_behind_it_waiting(self, alice, dana, olga, monkeypatch):
        monkeypatch.setattr(dispatch, "PAGE", 2)
        rig = Rig(olga.personal_account)
        hopeless = [an_approved_task(alice, dana, gpus=4, limit_ms=HOUR // 4) for _ in range(5)]
        behind = an_approved_task(alice, dana, limit_ms=HOUR)

        assert services.schedule() == 1

        assert offered_to(rig)["task_id"] == str(behind.pk)
        for task in hopeless:
            task.refresh_from_db()
            assert task.waiting["code"] == "too_many_gpus"

    def test_it_reads_no_further_than_there_are_gpus(self, alice, dana, olga, monkeypatch):
        monkeypatch.setattr(dispatch, "PAGE", 2)
        Rig(olga.personal_account)
        for _ in range(5):
            an_approved_task(alice, dana, limit_ms=HOUR)
        with CaptureQueriesContext(connection) as queries:
            assert services.schedule() == 1
        assert not [query["sql"] for query in queries if "OFFSET" in query["sql"]]


class TestFit:
    def test_the_smallest_gpu_that_is_enough_is_taken(self, alice, dana, olga):
        Rig(olga.personal_account, a_device(vram_mib=80_000), name="big")
        small = Rig(olga.personal_account, a_device(vram_mib=16_000), name="small")
        Rig(olga.personal_account, a_device(vram_mib=8_000), name="tiny")
        an_approved_task(alice, dana, min_vram_mib=12_000)
        assert offered_to(small)

    def test_several_gpus_are_of_one_host(self, alice, dana, olga):
        Rig(olga.personal_account, a_device(index=0), name="single")
        pair = Rig(olga.personal_account, a_device(index=0), a_device(index=1), name="pair")
        an_approved_task(alice, dana, gpus=2)

        assert len(offered_to(pair)["gpu_uuids"]) == 2

    def test_all_or_none_of_them_are_given(self, alice, dana, olga):
        rig = Rig(olga.personal_account, a_device(index=0), a_device(index=1))
        an_approved_task(alice, dana, limit_ms=HOUR)
        offered_to(rig)
        gang = an_approved_task(alice, dana, gpus=2, limit_ms=HOUR)

        assert services.schedule() == 0
        assert waiting(gang) == "all_busy"
        assert AttemptGPU.objects.count() == 1

    @pytest.mark.parametrize(
        ("ask", "code"),
        [
            ({"gpu_model": "B200"}, "no_such_model"),
            ({"min_vram_mib": 200_000}, "too_little_vram"),
            ({"min_compute_capability": 100}, "too_old"),
            ({"region": "moon"}, "no_such_region"),
            ({"labels": {"rack": "b3"}}, "no_such_labels"),
            ({"spec": {"command": ["true"], "image": "python:3.11"}}, "no_executor"),
            ({"gpus": 2}, "too_many_gpus"),
        ],
    )
    def test_it_says_why_a_task_waits(self, alice, dana, olga, ask, code):
        Rig(olga.personal_account)
        task = an_approved_task(alice, dana, limit_ms=HOUR, **ask)

        assert services.schedule() == 0
        assert waiting(task) == code
        assert task.waiting["detail"]
        assert task.waiting["hint"]

    def test_without_any_gpu_it_says_so(self, alice, dana):
        task = an_approved_task(alice, dana)
        services.schedule()
        assert waiting(task) == "no_gpus"

    def test_a_silent_host_is_given_nothing(self, alice, dana, olga):
        Rig(olga.personal_account)
        Host.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
        task = an_approved_task(alice, dana)
        assert services.schedule() == 0
        assert waiting(task) == "all_busy"

    @pytest.mark.parametrize("verb", ["drain", "maintenance", "revoke"])
    def test_a_host_that_is_leaving_is_given_nothing(self, alice, dana, olga, verb):
        rig = Rig(olga.personal_account)
        getattr(rig.host, verb)(by=olga, now=clock.now())
        an_approved_task(alice, dana)
        assert services.schedule() == 0

    def test_a_task_may_name_its_host(self, alice, dana, olga):
        Rig(olga.personal_account, name="other")
        named = Rig(olga.personal_account, name="named")
        an_approved_task(alice, dana, host_id=named.host_id)
        assert offered_to(named)


class TestRefused:
    def test_a_host_is_not_asked_again_for_the_cool_down(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        task = an_approved_task(alice, dana)
        rig.finish(offered_to(rig), "REFUSED", exit_code=None, code="no_gpu")

        assert services.schedule() == 0
        assert waiting(task) == "refused_lately"
        Attempt.objects.update(ended_at=clock.now() - timedelta(seconds=601))
        assert offered_to(rig)["epoch"] == 2

    def test_other_tasks_are_offered_to_it(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        an_approved_task(alice, dana, limit_ms=HOUR)
        rig.finish(offered_to(rig), "REFUSED", exit_code=None, code="no_gpu")
        other = an_approved_task(alice, dana, limit_ms=HOUR)
        assert offered_to(rig)["task_id"] == str(other.pk)


class TestVisibility:
    def test_a_private_gpu_serves_its_own_account(self, alice, dana, olga):
        rig = Rig(olga.personal_account, visibility="PRIVATE")
        stranger = an_approved_task(alice, dana)
        own = an_approved_task(olga, dana)
        assert offered_to(rig)["task_id"] == str(own.pk)
        assert waiting(stranger) == "not_visible"

    def test_a_tree_gpu_serves_the_tree(self, alice, pat, dana, charlie, family, child):
        from accounts.services import grant_hours

        grant_hours(account=family, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:family")
        rig = Rig(family, visibility="TREE")
        stranger = an_approved_task(alice, dana)
        inside = an_approved_task(charlie, dana, account=child)
        assert offered_to(rig)["task_id"] == str(inside.pk)
        assert waiting(stranger) == "not_visible"

    def test_an_unlisted_gpu_serves_nobody(self, alice, dana, olga):
        Rig(olga.personal_account)
        GPU.objects.get().unlist(by=olga, now=clock.now())
        task = an_approved_task(alice, dana)
        assert services.schedule() == 0
        assert waiting(task) == "no_gpus"

    @pytest.mark.parametrize("allowed", [True, False])
    def test_a_simulated_gpu_serves_only_where_that_is_allowed(self, alice, dana, olga, settings, allowed):
        settings.ALLOW_SIMULATED = allowed
        Rig(olga.personal_account, a_device(is_simulated=True))
        task = an_approved_task(alice, dana)
        assert services.schedule() == (1 if allowed else 0)
        assert waiting(task) == (None if allowed else "simulated_only")


class TestFunding:
    def test_quota_needs_a_gpu_that_takes_it(self, alice, dana, olga):
        Rig(olga.personal_account, accepts_quota=False)
        task = an_approved_task(alice, dana)
        assert services.schedule() == 0
        assert waiting(task) == "no_quota_gpu"

    def test_a_wallet_task_pays_no_more_than_its_ceiling(self, alice, dana, olga):
        top_up(alice.personal_account, 10_000_000)
        Rig(olga.personal_account, name="dear", price_per_hour=1_000_001)
        task = an_approved_task(alice, dana, funding="wallet", max_price_per_hour=1_000_000)
        assert services.schedule() == 0
        assert waiting(task) == "too_dear"

        cheap = Rig(olga.personal_account, name="cheap", price_per_hour=1_000_000)
        assert offered_to(cheap)


class TestWakes:
    def test_every_wake_is_served(self, alice, dana, olga, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            for _ in range(3):
                services.schedule_soon()
        state = Scheduler.objects.get()
        assert state.requested == state.served + 3

        services.schedule()

        state.refresh_from_db()
        assert state.requested == state.served
        assert state.last_pass_at is not None

    def test_a_wake_during_a_pass_makes_another(self, alice, dana, olga):
        Rig(olga.personal_account)
        late = services.submit(a_draft(), by=alice, now=clock.now())
        passes = []

        def now():
            # Asked for at the start and at the end of each pass.
            passes.append(Scheduler.objects.get().requested)
            if len(passes) == 2:
                services.approve(late, by=dana, now=clock.now())
                Scheduler.objects.update(requested=passes[-1] + 1)
            return clock.now()

        assert services.schedule(now) == 1
        assert len(passes) == 4
