"""Reliability: minutes are counted once, from leases; announced maintenance is no minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from gpus import services
from gpus.models import Host, HostDay
from gpus.services import reliability
from gpus.tests.fleet import an_active_host

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def host(olga):
    return an_active_host(olga.personal_account)


def is_heard_until(host, moment: datetime) -> None:
    Host.objects.filter(pk=host.pk).update(lease_expires_at=moment)


def count(begin: datetime, minutes: int) -> None:
    for minute in range(minutes):
        reliability.count_minute(now=begin + minute * MINUTE)


def counted(host) -> tuple[int, int]:
    day = HostDay.objects.get(host=host)
    return day.up_minutes, day.counted_minutes


class TestCount:
    def test_minutes_within_the_lease_are_up(self, host):
        is_heard_until(host, NOON + 3 * MINUTE)
        count(NOON, 5)
        assert counted(host) == (3, 5)

    def test_a_minute_counts_once(self, host):
        is_heard_until(host, NOON + MINUTE)
        for second in (0, 20, 59):
            reliability.count_minute(now=NOON + timedelta(seconds=second))
        assert counted(host) == (1, 1)

    def test_hosts_are_not_blamed_for_the_platforms_own_absence(self, host):
        is_heard_until(host, NOON + MINUTE)
        count(NOON, 1)
        reliability.count_minute(now=NOON + timedelta(hours=2))
        assert counted(host) == (1, 1)
        count(NOON + timedelta(hours=2, minutes=1), 1)
        assert counted(host) == (1, 2)

    @pytest.mark.parametrize("status", ["JOINING", "MAINTENANCE", "REVOKED"])
    def test_a_host_that_need_not_be_up_is_not_counted(self, host, status):
        Host.objects.filter(pk=host.pk).update(
            status=status, **({"secret_hash": "", "join_token_hash": ""} if status == "REVOKED" else {})
        )
        count(NOON, 3)
        assert not HostDay.objects.filter(host=host).exists()

    def test_announced_maintenance_is_no_minute(self, host, olga):
        is_heard_until(host, NOON)
        host.maintenance(by=olga, begins_at=NOON + 2 * MINUTE, ends_at=NOON + 4 * MINUTE, now=NOON)
        count(NOON, 6)
        assert counted(host) == (0, 4)

    def test_a_day_is_a_row(self, host):
        is_heard_until(host, NOON + timedelta(days=2))
        count(datetime(2026, 6, 1, 23, 59, tzinfo=UTC), 3)
        days = HostDay.objects.filter(host=host).order_by("day").values_list("day", "up_minutes")
        assert list(days) == [(date(2026, 6, 1), 1), (date(2026, 6, 2), 2)]

    def test_its_queries_do_not_grow_with_the_fleet(self, olga, django_assert_max_num_queries):
        for number in range(5):
            an_active_host(olga.personal_account, name=f"rig-{number}")
        with django_assert_max_num_queries(7):
            count(NOON, 1)


class TestScore:
    def test_ten_good_minutes_are_given_to_start_with(self):
        assert reliability.score(0, 0) == 1
        assert reliability.score(0, 10) == 0.5

    def test_thirty_days_count(self, host):
        today = NOON.date()
        for ago, up in ((0, 700), (29, 1440), (30, 0), (63, 0)):
            day = today - timedelta(days=ago)
            HostDay.objects.create(host=host, day=day, up_minutes=up, counted_minutes=1440, counted_at=NOON)

        services.score_hosts(now=NOON)

        host.refresh_from_db()
        assert host.reliability == pytest.approx((700 + 1440 + 10) / (2 * 1440 + 10))
        assert HostDay.objects.count() == 3  # what lies well behind is gone

    def test_a_host_that_was_never_counted_keeps_its_own(self, host):
        services.score_hosts(now=NOON)
        host.refresh_from_db()
        assert host.reliability == 1.0


class TestInTheLists:
    def test_hosts_are_ordered_and_filtered_by_it(self, api, olga):
        good, bad = (an_active_host(olga.personal_account, name=name) for name in ("good", "bad"))
        Host.objects.filter(pk=bad.pk).update(reliability=0.5)

        ordered = api(olga).get("/api/v1/hosts/", {"ordering": "-reliability"}).data["results"]
        kept = api(olga).get("/api/v1/hosts/", {"min_reliability": "0.9"}).data["results"]

        assert [(row["name"], row["reliability"]) for row in ordered] == [("good", 1.0), ("bad", 0.5)]
        assert [row["id"] for row in kept] == [str(good.pk)]
        assert api(olga).get("/api/v1/hosts/", {"min_reliability": "1.1"}).status_code == 400
