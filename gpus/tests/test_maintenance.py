"""Maintenance, as a host's owner announces it, and the secret that is good for a while after a rotation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from gaas.lib import clock
from gpus import services
from gpus.models import Host
from gpus.tests.fleet import a_joined_host, an_active_host

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def host(olga):
    return an_active_host(olga.personal_account)


def state(host) -> str:
    host.refresh_from_db()
    return host.status


class TestAnnounced:
    def test_it_begins_and_ends_by_itself(self, host, olga):
        now = clock.now()
        host.maintenance(by=olga, begins_at=now + HOUR, ends_at=now + 2 * HOUR, reason="new disks", now=now)
        assert state(host) == "ACTIVE"
        services.tend_fleet(now=now + HOUR)
        assert state(host) == "MAINTENANCE"
        services.tend_fleet(now=now + 2 * HOUR)
        assert (state(host), host.maintenance_from, host.maintenance_until) == ("ACTIVE", None, None)

    def test_a_host_that_is_drained_stays_drained(self, host, olga):
        now = clock.now()
        host.maintenance(by=olga, begins_at=now + HOUR, ends_at=now + 2 * HOUR, now=now)
        host.drain(by=olga, now=now)
        services.tend_fleet(now=now + HOUR)
        assert state(host) == "DRAINING"
        services.tend_fleet(now=now + 2 * HOUR)
        assert (state(host), host.maintenance_from) == ("DRAINING", None)

    def test_undrain_calls_it_off(self, host, olga):
        now = clock.now()
        host.maintenance(by=olga, begins_at=now + HOUR, ends_at=now + 2 * HOUR, now=now)
        host.undrain(by=olga, now=now)
        services.tend_fleet(now=now + HOUR)
        assert (state(host), host.maintenance_from) == ("ACTIVE", None)

    def test_without_an_end_it_lasts_until_undrain(self, host, olga):
        now = clock.now()
        host.maintenance(by=olga, now=now)
        services.tend_fleet(now=now + timedelta(days=30))
        assert state(host) == "MAINTENANCE"


class TestEndpoint:
    def test_it_is_announced_over_the_api(self, api, host, olga):
        now = clock.now()
        body = {"begins_at": (now + HOUR).isoformat(), "ends_at": (now + 2 * HOUR).isoformat(), "reason": "disks"}
        answer = api(olga).post(f"/api/v1/hosts/{host.pk}/maintenance/", body, format="json")
        assert answer.status_code == 200
        assert answer.data["status"] == "ACTIVE"
        assert answer.data["maintenance_from"]

    @pytest.mark.parametrize(
        ("begins", "ends", "attr"),
        [(1, None, "ends_at"), (2, 1, "ends_at"), (None, -1, "ends_at"), (1, 24 * 91, "ends_at")],
        ids=["no end", "ends first", "over", "too far"],
    )
    def test_times_without_sense_are_refused(self, api, host, olga, begins, ends, attr):
        now = clock.now()
        hours = {"begins_at": begins, "ends_at": ends}
        body = {name: (now + n * HOUR).isoformat() for name, n in hours.items() if n is not None}
        answer = api(olga).post(f"/api/v1/hosts/{host.pk}/maintenance/", body, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
        assert state(host) == "ACTIVE"

    def test_a_second_one_without_news_is_a_conflict(self, api, host, olga):
        path = f"/api/v1/hosts/{host.pk}/maintenance/"
        assert [api(olga).post(path, {}, format="json").status_code for _ in range(2)] == [200, 409]


class TestRotate:
    def test_the_secret_before_is_good_for_the_overlap_alone(self, api, olga):
        host, old = a_joined_host(olga.personal_account)
        path = f"/api/v1/hosts/{host.pk}/rotate-secret/"
        new = api(olga).post(path, {"overlap_seconds": 600}, format="json").data["secret"]

        assert [_is_known(secret) for secret in (old, new)] == [True, True]
        Host.objects.update(old_secret_until=clock.now() - timedelta(seconds=1))
        assert [_is_known(secret) for secret in (old, new)] == [False, True]

    def test_without_one_it_is_refused_at_once(self, api, olga):
        host, old = a_joined_host(olga.personal_account)
        api(olga).post(f"/api/v1/hosts/{host.pk}/rotate-secret/", {}, format="json")
        assert not _is_known(old)

    def test_a_revoked_host_has_none(self, olga):
        host, old = a_joined_host(olga.personal_account)
        new = host.rotate_secret(by=olga, overlap_seconds=600, now=clock.now())
        host.revoke(by=olga, now=clock.now())
        assert [_is_known(secret) for secret in (old, new)] == [False, False]


def _is_known(secret: str) -> bool:
    answer = APIClient(HTTP_AUTHORIZATION=f"Host {secret}").post("/api/agent/v1/sync", {}, format="json")
    assert answer.status_code in (400, 401)
    return answer.status_code == 400
