"""Idle syncs that are written together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from accounts.models import User
from gaas.lib import clock
from gpus import services
from gpus.models import Host
from gpus.services.hearing import SessionConflict, StaleSequence
from gpus.services.heartbeats import Heartbeats
from gpus.sql import Beat, write_beats
from gpus.tests.fleet import SESSION, a_sync, an_active_host

pytestmark = pytest.mark.django_db(transaction=True)


def beat(host: Host, seq: int, **changes: Any) -> Beat:
    now = clock.now()
    read = {"host_id": host.pk, "session": host.session, "boot_id": host.boot_id, "seq_before": host.seq}
    heard = {"seq": seq, "at": now, "lease_expires_at": now + timedelta(seconds=60), "skew": 1.5}
    return Beat(**{**read, **heard, **changes})


@pytest.fixture
def hosts(olga: User) -> list[Host]:
    return [an_active_host(olga.personal_account, name=f"rig-{n}") for n in range(5)]


class TestWriteBeats:
    def test_it_writes_all_in_one_statement(self, hosts: list[Host], django_assert_num_queries: Any) -> None:
        beats = [beat(host, 7) for host in hosts]
        with django_assert_num_queries(1):
            written = write_beats(beats)
        assert written == {(host.pk, 7) for host in hosts}
        for host in hosts:
            before = host.lease_expires_at
            host.refresh_from_db()
            assert (host.seq, host.clock_skew_seconds) == (7, 1.5)
            assert host.last_sync_at == host.updated_at
            assert host.lease_expires_at > before

    @pytest.mark.parametrize("change", ["session", "boot_id", "seq_before", "revoked"])
    def test_it_leaves_a_row_that_is_another_by_now(self, hosts: list[Host], change: str) -> None:
        stale, *others = hosts
        other = {"session": uuid4(), "boot_id": "another", "seq_before": 99}.get(change)
        if change == "revoked":
            stale.revoke(by=None, now=clock.now(), reason="x")
        changed = beat(stale, 7, **({} if change == "revoked" else {change: other}))
        assert write_beats([changed, *(beat(host, 7) for host in others)]) == {(host.pk, 7) for host in others}
        stale.refresh_from_db()
        assert stale.seq == 1

    def test_of_two_for_one_host_one_is_taken(self, hosts: list[Host]) -> None:
        written = write_beats([beat(hosts[0], 7), beat(hosts[0], 8)])
        assert len(written) == 1
        hosts[0].refresh_from_db()
        assert written == {(hosts[0].pk, hosts[0].seq)}


class TestHear:
    def test_an_idle_sync_renews_the_lease(self, hosts: list[Host]) -> None:
        host = hosts[0]
        before = host.lease_expires_at
        services.hear(host=host, report=a_sync(2), now=clock.now())
        stored = Host.objects.get(pk=host.pk)
        assert stored.lease_expires_at > before
        assert (stored.seq, host.seq) == (2, 2)

    def test_it_refuses_what_it_refused_alone(self, hosts: list[Host]) -> None:
        host = hosts[0]
        stale = Host.objects.get(pk=host.pk)
        services.hear(host=host, report=a_sync(5), now=clock.now())
        with pytest.raises(StaleSequence):
            services.hear(host=stale, report=a_sync(4), now=clock.now())
        with pytest.raises(SessionConflict):
            services.hear(host=stale, report=a_sync(9, session=uuid4()), now=clock.now())
        assert Host.objects.get(pk=host.pk).session == SESSION

    def test_a_sync_between_reading_and_writing_is_judged_again(self, hosts: list[Host]) -> None:
        read_before = Host.objects.get(pk=hosts[0].pk)
        services.hear(host=hosts[0], report=a_sync(5), now=clock.now())
        services.hear(host=read_before, report=a_sync(6), now=clock.now())
        assert Host.objects.get(pk=hosts[0].pk).seq == 6


class TestGathering:
    def test_what_comes_during_a_write_goes_together(
        self, hosts: list[Host], monkeypatch: pytest.MonkeyPatch, postgresql_or_skip: None
    ) -> None:
        heartbeats, sizes = Heartbeats(), []
        first_is_in, go_on = threading.Event(), threading.Event()

        def watched(beats: list[Beat]) -> Any:
            sizes.append(len(beats))
            if len(sizes) == 1:
                first_is_in.set()
                go_on.wait(60)
            return write_beats(beats)

        monkeypatch.setattr("gpus.services.heartbeats.write_beats", watched)
        results: list[bool] = []
        threads = [_thread(lambda host=host: results.append(heartbeats.renew(beat(host, 3)))) for host in hosts]  # type: ignore[misc]
        threads[0].start()
        assert first_is_in.wait(60)
        for thread in threads[1:]:
            thread.start()
        while len(heartbeats._queue) < 4:
            go_on.wait(0.01)
        go_on.set()
        for thread in threads:
            thread.join(60)
        assert (sizes, results) == ([1, 4], [True] * 5)
        assert set(Host.objects.values_list("seq", flat=True)) == {3}


@pytest.fixture
def postgresql_or_skip() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: threads would prove nothing")


def _thread(call: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    return threading.Thread(target=run)
