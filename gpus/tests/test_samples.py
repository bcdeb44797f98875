"""Samples: what is stored of a report, how they become coarse with age, and how they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaas.lib import clock
from gpus import services
from gpus.models import GPU, GPUSample
from gpus.services import samples
from gpus.tests.fleet import a_device, a_gpu, a_joined_host, a_sync, an_active_host

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def gpu(olga):
    return an_active_host(olga.personal_account, a_device("GPU-1")).gpus.get()


def rows(gpu, begin: datetime, count: int, *, step: int = 10, **values: float) -> None:
    measured = {"utilisation": 50.0, **values}
    GPUSample.objects.bulk_create(
        GPUSample(gpu=gpu, step=step, at=begin + timedelta(seconds=step * n), **measured) for n in range(count)
    )


class TestKept:
    def test_one_a_gpu_and_step_however_often_a_host_reports(self, gpu):
        host = gpu.host
        for second, value in ((0, 10), (3, 20), (12, 30)):
            samples.keep_samples(
                host=host, samples={"GPU-1": {"utilisation": value}}, now=NOON + timedelta(seconds=second)
            )

        assert [(row.at, row.utilisation) for row in gpu.samples.order_by("at")] == [
            (NOON, 10),
            (NOON + timedelta(seconds=10), 30),
        ]
        gpu.refresh_from_db()
        assert gpu.metrics["utilisation"] == 30

    def test_foreign_processes_alone_are_no_sample(self, gpu):
        samples.keep_samples(host=gpu.host, samples={"GPU-1": {"foreign_processes": 2}}, now=NOON)

        gpu.refresh_from_db()
        assert (gpu.foreign_processes, gpu.samples.count()) == (2, 0)

    def test_a_gpu_of_another_host_is_not_touched(self, gpu, alice):
        other = an_active_host(alice.personal_account, a_device("GPU-2"), name="other")

        assert not samples.keep_samples(host=other, samples={"GPU-1": {"foreign_processes": 2}}, now=NOON)

        gpu.refresh_from_db()
        assert (gpu.foreign_processes, gpu.metrics) == (0, {})


class TestForeign:
    def test_it_is_not_offered_until_it_is_clean(self, olga):
        gpu = a_gpu(olga.personal_account)
        now = clock.now()

        def told(count: int) -> bool:
            return samples.keep_samples(host=gpu.host, samples={gpu.uuid: {"foreign_processes": count}}, now=now)

        assert not told(1)
        assert not GPU.objects.free(now).exists()
        assert GPU.objects.with_availability(now=now).get().availability == "OCCUPIED"
        assert told(0)  # a waiting task may fit now
        assert GPU.objects.free(now).exists()
        assert not told(0)

    def test_a_report_without_a_word_of_it_changes_nothing(self, olga):
        gpu = a_gpu(olga.personal_account)
        samples.keep_samples(host=gpu.host, samples={gpu.uuid: {"foreign_processes": 1}}, now=NOON)
        samples.keep_samples(host=gpu.host, samples={gpu.uuid: {"utilisation": 1}}, now=NOON)
        gpu.refresh_from_db()
        assert gpu.foreign_processes == 1


class TestThin:
    def test_fine_ones_become_minutes_after_an_hour(self, gpu):
        rows(gpu, NOON, 6, memory_mib=100)
        GPUSample.objects.filter(at=NOON).update(utilisation=80, memory_mib=900)

        assert samples.thin_samples(now=NOON + timedelta(hours=1, minutes=1)) == 6

        (minute,) = gpu.samples.all()
        assert (minute.step, minute.at, minute.weight) == (60, NOON, 6)
        assert (minute.utilisation, minute.memory_mib, minute.power_w) == (55, 900, None)

    def test_young_ones_stay(self, gpu):
        rows(gpu, NOON, 12)
        assert samples.thin_samples(now=NOON + timedelta(minutes=61, seconds=30)) == 6
        assert gpu.samples.filter(step=10).count() == 6

    def test_a_batch_may_end_within_a_minute(self, gpu, monkeypatch):
        monkeypatch.setattr(samples, "BATCH", 4)
        rows(gpu, NOON, 4, utilisation=0)
        rows(gpu, NOON + timedelta(seconds=40), 2, utilisation=60)

        samples.thin_samples(now=NOON + timedelta(hours=2))

        (minute,) = gpu.samples.all()
        assert (minute.weight, minute.utilisation) == (6, 20)

    def test_what_is_a_month_old_is_forgotten(self, gpu):
        rows(gpu, NOON, 3, step=600)
        samples.thin_samples(now=NOON + timedelta(days=31))
        assert not gpu.samples.exists()

    def test_a_call_does_so_much_and_no_more(self, gpu, monkeypatch):
        monkeypatch.setattr(samples, "BATCH", 2)
        monkeypatch.setattr(samples, "ROUNDS", 1)
        rows(gpu, NOON, 12)

        assert samples.thin_samples(now=NOON + timedelta(hours=2)) == 2
        assert gpu.samples.filter(step=10).count() == 10

    def test_a_day_of_a_gpu_ends_as_what_is_kept_of_it(self, gpu):
        rows(gpu, NOON, 8640)
        now = NOON + timedelta(days=1)
        while samples.thin_samples(now=now):
            pass
        assert gpu.samples.filter(step=10).count() == 360
        assert gpu.samples.filter(step=60).count() == 23 * 60


class TestRead:
    def test_neighbours_become_one_where_there_are_many(self, gpu):
        rows(gpu, NOON, 360)
        found = samples.read_samples(gpus=[gpu.pk], since=NOON, until=NOON + timedelta(hours=1), most=60)[gpu.pk]

        assert len(found) == 60
        assert (found[0].at, found[0].step, found[0].utilisation) == (NOON, 60, 50)


class TestEndpoint:
    def test_it_shows_the_hours_before(self, api, olga, django_assert_max_num_queries):
        gpu = a_gpu(olga.personal_account)
        now = clock.now()
        for minutes in (5, 90):
            samples.keep_samples(
                host=gpu.host, samples={gpu.uuid: {"utilisation": minutes}}, now=now - timedelta(minutes=minutes)
            )
        path = f"/api/v1/gpus/{gpu.pk}/metrics/"

        with django_assert_max_num_queries(7):
            last = api(olga).get(path).data
        assert [sample["utilisation"] for sample in last["samples"]] == [5]
        assert set(last["samples"][0]) == {"at", "seconds", "utilisation", "memory_mib", "power_w", "temperature_c"}
        assert len(api(olga).get(path, {"hours": "2"}).data["samples"]) == 2

    @pytest.mark.parametrize("hours", ["0", "721", "-1", "1.5", "", "x", "9" * 40])
    def test_hours_are_a_number_within_bounds(self, api, olga, hours):
        gpu = a_gpu(olga.personal_account)
        answer = api(olga).get(f"/api/v1/gpus/{gpu.pk}/metrics/", {"hours": hours})
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "hours")


class TestReport:
    def test_a_bad_number_costs_its_sample_alone(self, olga):
        host, _ = a_joined_host(olga.personal_account)
        metrics = [{"gpu": "GPU-1", "utilisation": float("nan"), "power_w": 300, "foreign_processes": -1}]
        heard = services.hear(host=host, report=a_sync(1, gpus=[a_device("GPU-1")], metrics=metrics), now=clock.now())

        assert len(heard.warnings) == 2
        assert GPUSample.objects.get().power_w == 300
        assert GPU.objects.get().foreign_processes == 0
