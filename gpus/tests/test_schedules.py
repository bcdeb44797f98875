"""Schedules, as owners set them, and how GPUs open and close by them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gpus import services
from gpus.models import GPU
from gpus.tests.fleet import a_gpu

pytestmark = pytest.mark.django_db

NIGHTS = {
    "time_zone": "Europe/Berlin",
    "windows": [{"days": ["MON", "TUE"], "from": "18:00", "until": "08:00"}],
    "may_stop": True,
}


@pytest.fixture
def gpu(olga):
    return a_gpu(olga.personal_account)


def patch(api, olga, gpu, schedule):
    return api(olga).patch(f"/api/v1/gpus/{gpu.pk}/", {"schedule": schedule}, format="json")


class TestSet:
    def test_an_owner_sets_and_clears_it(self, api, olga, gpu):
        assert patch(api, olga, gpu, NIGHTS).data["schedule"] == NIGHTS
        assert patch(api, olga, gpu, {}).data["schedule"] == {}
        gpu.refresh_from_db()
        assert (gpu.is_closed, gpu.turns_at) == (False, None)

    @pytest.mark.parametrize(
        ("change", "attr"),
        [
            ([], "schedule"),
            ({"time_zone": "Europe/Nowhere"}, "schedule.time_zone"),
            ({"time_zone": "../../etc/passwd"}, "schedule.time_zone"),
            ({"time_zone": None}, "schedule.time_zone"),
            ({"time_zone": "Europe"}, "schedule.time_zone"),
            ({"windows": []}, "schedule.windows"),
            ({"windows": NIGHTS["windows"] * 51}, "schedule.windows"),
            ({"windows": [1]}, "schedule.windows"),
            ({"windows": [{"days": ["MON"], "from": "18:00"}]}, "schedule.until"),
            ({"windows": [{"days": ["Monday"], "from": "18:00", "until": "19:00"}]}, "schedule.days"),
            ({"windows": [{"days": [], "from": "18:00", "until": "19:00"}]}, "schedule.days"),
            ({"windows": [{"days": ["MON"], "from": "25:00", "until": "19:00"}]}, "schedule.from"),
            ({"windows": [{"days": ["MON"], "from": "18:00", "until": "18:00"}]}, "schedule.until"),
            ({"windows": [{"days": ["MON"], "from": "18:00", "until": "19:00", "x": 1}]}, "schedule.x"),
            ({"may_stop": 1}, "schedule.may_stop"),
            ({"windoes": []}, "schedule.windoes"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_one_without_sense_is_refused(self, api, olga, gpu, change, attr):
        answer = patch(api, olga, gpu, change if isinstance(change, list) else {**NIGHTS, **change})
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)


class TestTurns:
    def test_it_closes_and_opens_by_the_minute(self, olga, gpu):
        noon = datetime(2026, 6, 2, 10, tzinfo=UTC)  # a Tuesday, 12:00 in Berlin
        gpu.offer(by=olga, schedule=NIGHTS, now=noon)
        assert (gpu.is_closed, gpu.turns_at) == (True, noon.replace(hour=16))

        assert services.tend_fleet(now=noon) is None
        assert GPU.objects.get().is_closed
        services.tend_fleet(now=noon.replace(hour=16, minute=1))
        gpu.refresh_from_db()
        assert (gpu.is_closed, gpu.turns_at) == (False, datetime(2026, 6, 3, 6, tzinfo=UTC))

    def test_a_closed_one_says_so(self, api, olga, gpu):
        GPU.objects.update(is_closed=True, schedule=NIGHTS)
        assert api(olga).get("/api/v1/gpus/").data["results"][0]["availability"] == "CLOSED"
