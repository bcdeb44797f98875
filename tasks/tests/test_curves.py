"""Curves: points of progress are bounded, numbers alone, and shown with what the GPUs did meanwhile."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from gaas.lib import clock
from gpus.models import GPUSample
from tasks.models import Attempt, ProgressPoint
from tasks.services.curves import slot_of
from tasks.tests.rig import Rig, an_approved_task, has_run_for, refused, running_on


class TestSlots:
    def test_a_week_of_seconds_makes_some_hundreds_of_points(self):
        assert 1500 < len({slot_of(second) for second in range(604_800)}) < 1800

    @given(st.integers(0, 2**31 - 1))
    def test_a_slot_begins_at_or_just_before_its_seconds(self, second):
        slot = slot_of(second)
        assert slot <= second < slot + max(1, slot / 100)
        assert slot_of(slot) == slot


@pytest.mark.django_db
class TestKept:
    @pytest.fixture
    def running(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        an_approved_task(alice, dana)
        return rig, running_on(rig)

    def report(self, running, progress) -> None:
        rig, offer = running
        rig.held[offer["id"]]["progress"] = progress
        rig.sync()

    def test_of_a_second_the_last_word_stands(self, running):
        has_run_for(running[1], 100_000.2)  # seconds are kept by 512 there
        self.report(running, {"step": 1, "of": 10, "metrics": {"loss": 0.5}})
        self.report(running, {"step": 2, "of": 10, "metrics": {"loss": 0.25}})
        has_run_for(running[1], 200_000.2)
        self.report(running, {"step": 3, "of": 10})

        points = ProgressPoint.objects.order_by("second").values_list("step", "metrics")
        assert list(points) == [(2, {"loss": 0.25}), (3, {})]

    def test_the_same_word_again_is_no_point(self, running):
        self.report(running, {"step": 1})
        has_run_for(running[1], 100)
        self.report(running, {"step": 1})
        assert ProgressPoint.objects.count() == 1

    @pytest.mark.parametrize(
        "progress",
        [
            {"text": "hello"},
            {"step": "1"},
            {"step": True, "metrics": {"a": "b"}},
            {"metrics": {"": 1, "x" * 65: 1, "a\nb": 1}},
            {"metrics": [1]},
            {"metrics": None},
        ],
        ids=lambda progress: json.dumps(progress)[:30],
    )
    def test_what_is_no_number_makes_no_curve(self, running, progress):
        self.report(running, progress)
        assert not ProgressPoint.objects.exists()

    def test_so_many_curves_and_no_more(self, running):
        self.report(running, {"metrics": {f"m{n:03}": n for n in range(100)}})
        assert len(ProgressPoint.objects.get().metrics) == 16

    def test_a_sync_with_news_takes_one_query_more(self, running, django_assert_max_num_queries):
        self.report(running, {"step": 1})
        with django_assert_max_num_queries(9):
            self.report(running, {"step": 2})


@pytest.mark.django_db
class TestEndpoint:
    def test_it_shows_what_the_gpus_did_while_it_ran(self, api, alice, dana, olga, django_assert_num_queries):
        rig = Rig(olga.personal_account)
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 600)
        rig.held[offer["id"]]["progress"] = {"step": 1, "of": 2, "metrics": {"loss": 1.5}}
        rig.sync(metrics=[{"gpu": rig.devices[0].uuid, "utilisation": 40, "memory_mib": 1000}])
        gpu = GPUSample.objects.get().gpu
        GPUSample.objects.create(gpu=gpu, step=60, at=clock.now() - timedelta(hours=1), utilisation=99)
        client = api(alice)

        # Who calls, what they may (2), the task, the attempt, its GPUs, samples, points; PostgreSQL's clock.
        with django_assert_num_queries(8 + (connection.vendor == "postgresql")):
            shown = client.get(f"/api/v1/tasks/{task.pk}/metrics/").json()

        assert shown["attempt"] == offer["id"]
        assert [sample["utilisation"] for sample in shown["gpus"][0]["samples"]] == [40]
        assert [(point["step"], point["metrics"]) for point in shown["progress"]] == [(1, {"loss": 1.5})]

    def test_nothing_is_there_before_the_start(self, api, alice, dana):
        task = an_approved_task(alice, dana)
        shown = api(alice).get(f"/api/v1/tasks/{task.pk}/metrics/").json()
        assert (shown["attempt"], shown["gpus"], shown["progress"]) == (None, [], [])

    def test_an_attempt_of_another_task_is_not_found(self, api, alice, dana, olga, charlie):
        rig = Rig(olga.personal_account)
        an_approved_task(charlie, dana)
        running_on(rig)
        task = an_approved_task(alice, dana)
        answer = api(alice).get(f"/api/v1/tasks/{task.pk}/metrics/", {"attempt": str(Attempt.objects.get().pk)})
        refused(answer, 404, "not_found")
        refused(api(alice).get(f"/api/v1/tasks/{task.pk}/metrics/", {"attempts": "1"}), 400, "unknown_filter")


@pytest.mark.django_db
class TestBadNumbers:
    def test_nan_from_a_driver_costs_the_sample_and_not_the_lease(self, olga):
        rig = Rig(olga.personal_account)
        uuid = rig.devices[0].uuid
        text = json.dumps(rig.body(metrics=[{"gpu": uuid, "utilisation": float("nan"), "power_w": 1e999}, {"gpu": {}}]))
        answer = rig.http.post("/api/agent/v1/sync", text, content_type="application/json")
        assert answer.status_code == 200
        assert len(answer.json()["warnings"]) == 3

    def test_nan_elsewhere_is_refused(self, olga):
        rig = Rig(olga.personal_account)
        text = json.dumps(rig.body(seq=float("nan")))
        refused(rig.http.post("/api/agent/v1/sync", text, content_type="application/json"), 400)

    def test_deep_nesting_in_metrics_is_harmless(self, olga):
        rig = Rig(olga.personal_account)
        text = json.dumps(rig.body(metrics=["X"])).replace('"X"', "[" * 900 + "]" * 900)
        assert rig.http.post("/api/agent/v1/sync", text, content_type="application/json").status_code in (200, 400)
