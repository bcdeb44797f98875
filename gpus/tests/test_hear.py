from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, connections

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gpus import services
from gpus.agent.protocol import PROTOCOL
from gpus.choices import HostStatus
from gpus.models import Host
from gpus.tests.fleet import a_device, a_joined_host, a_sync, some_facts
from gpus.troubles import troubles

pytestmark = pytest.mark.django_db


@pytest.fixture
def host(olga):
    return a_joined_host(olga.personal_account)[0]


def hear(host, report, now=None):
    """Hear as a request does: with the host's row as it is stored now."""
    return services.hear(host=Host.objects.get(pk=host.pk), report=report, now=now or clock.now())


class TestFirstSync:
    def test_it_makes_the_host_active_and_reachable(self, host, settings):
        now = clock.now()
        heard = hear(host, a_sync(), now)

        host.refresh_from_db()
        assert host.status == HostStatus.ACTIVE
        assert host.last_sync_at == now
        assert host.lease_expires_at == now + timedelta(seconds=settings.LEASE_SECONDS)
        assert host.is_reachable(now)
        assert (heard.is_new_boot, heard.is_new_session, heard.is_back) == (True, True, True)

    def test_it_shows_what_it_stored_on_the_row_it_was_given(self, host):
        services.hear(host=host, report=a_sync(5), now=clock.now())

        stored = Host.objects.get(pk=host.pk)
        for name in ("status", "session", "seq", "boot_id", "last_sync_at", "lease_expires_at", "inventory_hash"):
            assert getattr(host, name) == getattr(stored, name), name


class TestSequence:
    def test_a_later_one_is_taken(self, host):
        hear(host, a_sync(1))
        heard = hear(host, a_sync(5))

        assert (heard.is_new_boot, heard.is_new_session, heard.is_back) == (False, False, False)

    @pytest.mark.parametrize("seq", [0, 4, 5])
    def test_an_equal_or_older_one_is_refused(self, host, seq):
        hear(host, a_sync(5))
        before = Host.objects.values().get(pk=host.pk)

        with pytest.raises(services.StaleSequence) as refused:
            hear(host, a_sync(seq))

        assert (refused.value.status, refused.value.code, refused.value.attr) == (409, "stale_seq", "seq")
        assert Host.objects.values().get(pk=host.pk) == before

    def test_a_row_read_too_early_is_judged_again(self, host):
        early = Host.objects.get(pk=host.pk)
        hear(host, a_sync(5))

        with pytest.raises(services.StaleSequence):
            services.hear(host=early, report=a_sync(3), now=clock.now())

    def test_only_the_first_of_two_that_read_the_same_row_sees_the_new_boot(self, host):
        hear(host, a_sync(1))
        one, two = Host.objects.get(pk=host.pk), Host.objects.get(pk=host.pk)

        first = services.hear(host=one, report=a_sync(2, boot_id="boot-2"), now=clock.now())
        second = services.hear(host=two, report=a_sync(3, boot_id="boot-2"), now=clock.now())

        assert (first.is_new_boot, second.is_new_boot) == (True, False)


class TestSession:
    def test_another_one_within_the_lease_is_refused(self, host):
        hear(host, a_sync(1))

        with pytest.raises(services.SessionConflict) as refused:
            hear(host, a_sync(1, session=uuid4()))

        assert (refused.value.status, refused.value.code) == (409, "session_conflict")
        hear(host, a_sync(2))

    def test_the_alarm_sounds_once_for_each_session(self, host):
        hear(host, a_sync(1))
        for other in (uuid4(), uuid4()):
            for seq in (1, 2, 3):
                with pytest.raises(services.SessionConflict):
                    hear(host, a_sync(seq, session=other))

        assert AuditEvent.objects.filter(action="host.session_conflict").count() == 2

    def test_its_owner_is_told_and_shown_what_to_do(self, host, olga, api):
        hear(host, a_sync(1))
        for seq in (1, 2):
            with pytest.raises(services.SessionConflict):
                hear(host, a_sync(seq, session=uuid4()))

        letter = Mail.objects.get(subject__startswith="Host rig")
        assert letter.to == olga.email
        [trouble] = api(olga).get(f"/api/v1/hosts/{host.pk}/").json()["troubles"]
        assert trouble["code"] == "session_conflict"
        assert "rotate the secret" in " ".join(trouble["hint"].split())
        host.rotate_secret(by=olga, now=clock.now())
        assert api(olga).get(f"/api/v1/hosts/{host.pk}/").json()["troubles"] == []

    def test_another_one_is_taken_when_the_lease_has_run_out(self, host, settings):
        now = clock.now()
        hear(host, a_sync(9), now)

        heard = hear(host, a_sync(1, session=uuid4()), now + timedelta(seconds=settings.LEASE_SECONDS))

        assert heard.is_new_session
        assert heard.is_back
        assert not heard.is_new_boot

    def test_another_one_is_taken_after_a_reboot(self, host):
        hear(host, a_sync(9))

        heard = hear(host, a_sync(1, session=uuid4(), boot_id="boot-2"))

        assert heard.is_new_session
        assert heard.is_new_boot

    def test_another_one_is_taken_after_a_join(self, host, olga):
        hear(host, a_sync(9))
        token = host.reissue_join_token(by=olga, now=clock.now())
        services.join(token=token, facts=some_facts(), protocol=PROTOCOL, now=clock.now())

        heard = hear(host, a_sync(1, session=uuid4()))

        assert heard.is_new_session
        assert not heard.is_new_boot


class TestFacts:
    def test_they_are_followed(self, host):
        hear(host, a_sync(1))
        hear(host, a_sync(2, facts=some_facts(sandbox="none", executors=["process", "container"])))

        host.refresh_from_db()
        assert host.sandbox == "none"
        assert host.executors == ["process", "container"]

    def test_a_clock_that_is_off_is_warned_of_and_decides_nothing(self, host):
        now = clock.now()
        heard = hear(host, a_sync(clock=(now + timedelta(hours=5)).isoformat()), now)

        host.refresh_from_db()
        assert host.clock_skew_seconds == 18_000
        assert host.last_sync_at == now
        assert any("clock" in warning for warning in heard.warnings)
        [trouble] = troubles(host, now)
        assert trouble.code == "clock_skew"
        assert "18000 s ahead" in trouble.detail

    @pytest.mark.parametrize("text", ["", "soon", "2024-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "\x00"])
    def test_a_clock_that_is_none_is_passed_over(self, host, text):
        assert any("clock" in warning for warning in hear(host, a_sync(clock=text)).warnings)

    @pytest.mark.parametrize(("protocol", "error"), [(0, services.ProtocolTooOld), (2, services.ProtocolTooNew)])
    def test_an_unknown_protocol_is_refused(self, host, protocol, error):
        with pytest.raises(error) as refused:
            hear(host, a_sync(protocol=protocol))

        assert (refused.value.status, refused.value.code) == (400, "protocol_unsupported")
        assert Host.objects.get(pk=host.pk).last_sync_at is None


class TestRevoked:
    def test_a_sync_on_its_way_is_refused(self, host, olga):
        hear(host, a_sync(1))
        on_its_way = Host.objects.get(pk=host.pk)
        host.refresh_from_db()
        host.revoke(by=olga, reason="sold", now=clock.now())

        with pytest.raises(services.HostIsRevoked) as refused:
            services.hear(host=on_its_way, report=a_sync(2), now=clock.now())

        assert refused.value.status == 401


class TestQueries:
    def test_an_unchanged_report_takes_one_and_its_metrics_three(self, host, django_assert_num_queries):
        devices = [a_device(f"GPU-{n}", index=n) for n in range(8)]
        metrics = [{"gpu": device.uuid, "utilisation": 40} for device in devices]
        hear(host, a_sync(1, gpus=devices))
        stored, now = Host.objects.get(pk=host.pk), clock.now()
        report = a_sync(2, now=now, gpus=devices, metrics=metrics)

        with django_assert_num_queries(4):
            services.hear(host=stored, report=report, now=now)

    def test_one_without_metrics_takes_one(self, host, django_assert_num_queries):
        hear(host, a_sync(1))
        stored, now = Host.objects.get(pk=host.pk), clock.now()
        report = a_sync(2, now=now)

        with django_assert_num_queries(1):
            services.hear(host=stored, report=report, now=now)


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite writes one at a time")
    def test_of_one_sequence_number_one_is_taken(self, host):
        hear(host, a_sync(1))
        taken, refused = [], []
        start = threading.Barrier(8)

        def run():
            start.wait()
            try:
                taken.append(hear(host, a_sync(2)))
            except services.StaleSequence as error:
                refused.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(taken), len(refused)) == (1, 7)
