"""Logs of ended attempts: one object in place of many rows, read at any byte, and gone when their time is over."""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections import Counter
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.ledger.tests.conftest import race
from gaas import beat
from gaas.lib import clock
from gaas.tests.s3 import keep_files_at
from tasks import services
from tasks.models import Attempt, LogArchive, LogChunk
from tasks.services import log_archive
from tasks.services.files import StorageAway
from tasks.services.log_archive import archive_logs, pack_log
from tasks.services.watch import piece_of_log, tail_of
from tasks.tests.rig import Rig, an_approved_task, refused, running_on

pytestmark = [pytest.mark.django_db]

# No UTF-8, no repetition of a length that a boundary could hide behind, and it compresses.
DATA = b"".join(b"%d \xff\x00 line\n" % number for number in range(3000))
CUT = b"\n[gaas: log cut at 8192 bytes]\n"


@pytest.fixture(autouse=True)
def _kept_apart(tmp_path):
    log_archive.outage.ends()
    with keep_files_at(f"file://{tmp_path}/kept"):
        yield


@pytest.fixture
def small_members(monkeypatch):
    """Have many members in a small log, and more than one read when it is verified."""
    monkeypatch.setattr(log_archive, "MEMBER_BYTES", 1000)
    monkeypatch.setattr(log_archive, "READ_MEMBERS", 7)


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice, dana):
    return an_approved_task(alice, dana)


@pytest.fixture
def offer(rig, task):
    return running_on(rig)


@pytest.fixture
def ended(rig, offer):
    """Give an attempt that wrote DATA in uneven batches and has ended."""
    return an_end(rig, offer)


def an_end(rig, offer, data=DATA) -> Attempt:
    at, step = 0, 1
    while at < len(data):
        rig.log(offer, data[at : at + step], at)
        at, step = at + step, min(7919, step * 3)
    rig.finish(offer, log_size=len(data), log_sha256=hashlib.sha256(data).hexdigest())
    return Attempt.objects.get(pk=offer["id"])


class Killed(BaseException):
    """Stand for the end of the process: nothing of the platform catches it."""


class Deadly(FileSystemStorage):
    """Keep what comes, and have its sender die before it learns of that."""

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        raise Killed


class Spoiling(FileSystemStorage):
    """Keep something else than what came."""

    def save(self, name, content, max_length=None):
        return super().save(name, ContentFile(content.read()[:-1] + b"x"), max_length)


def kept_in(storage, tmp_path):
    entry = {"BACKEND": f"{__name__}.{storage}", "OPTIONS": {"location": str(tmp_path / "kept")}}
    return override_settings(STORAGES={**django_settings.STORAGES, "default": entry})


def later(**time):
    return clock.now() + timedelta(**(time or {"minutes": 2}))


def read(client, task, **query):
    return client.get(f"/api/v1/tasks/{task.pk}/logs/", query)


def objects() -> int:
    """Count what lies in the storage."""
    count, folders = 0, ["logs"]
    while folders:
        folder = folders.pop()
        if default_storage.exists(folder):
            inner, files = default_storage.listdir(folder)
            count += len(files)
            folders += [f"{folder}/{name}" for name in inner]
    return count


class TestPack:
    def test_rows_become_one_object_a_while_after_the_end(self, ended):
        archive_logs(now=clock.now())
        assert LogChunk.objects.exists()

        archive_logs(now=later())

        archive = LogArchive.objects.get()
        assert (archive.is_kept, archive.size, archive.sha256) == (True, len(DATA), hashlib.sha256(DATA).hexdigest())
        assert not LogChunk.objects.exists()
        assert objects() == 1
        assert default_storage.size(archive.key) == archive.members[-1] < len(DATA) / 2
        assert Attempt.objects.get().log_pack_due_at is None

    def test_an_open_attempt_keeps_its_rows(self, rig, offer):
        rig.log(offer, DATA, 0)
        archive_logs(now=later(days=1))
        assert (LogChunk.objects.count(), LogArchive.objects.count()) == (1, 0)

    def test_an_empty_log_leaves_nothing(self, rig, offer):
        rig.finish(offer)
        archive_logs(now=later())
        assert (LogArchive.objects.count(), objects(), Attempt.objects.get().log_pack_due_at) == (0, 0, None)

    def test_a_second_time_does_nothing(self, ended):
        assert pack_log(attempt_id=ended.pk, now=later())
        assert not pack_log(attempt_id=ended.pk, now=later(days=1))
        assert objects() == 1

    def test_a_tick_takes_a_batch(self, rig, alice, dana, monkeypatch):
        monkeypatch.setattr(log_archive, "BATCH", 2)
        for _ in range(3):
            an_approved_task(alice, dana)
            an_end(rig, running_on(rig), b"text")
        archive_logs(now=later())
        assert LogArchive.objects.count() == 2
        archive_logs(now=later())
        assert LogArchive.objects.count() == 3

    def test_beat_asks_for_it(self):
        assert "tasks.archive_logs" in [job.name for job in beat.jobs()]

    def test_rows_with_a_hole_stay(self, ended, caplog):
        LogChunk.objects.order_by("-offset").first().delete()
        with caplog.at_level(logging.ERROR, "app"):
            archive_logs(now=later())
        assert LogChunk.objects.exists()
        assert (LogArchive.objects.count(), objects(), Attempt.objects.get().log_pack_due_at) == (0, 0, None)
        assert "stays rows" in caplog.text

    def test_the_notice_of_a_log_that_was_cut_is_kept(self, rig, offer, task, alice, api):
        an_end(rig, offer, b"x" * 8192 + CUT)
        archive_logs(now=later())
        assert read(api(alice), task, offset=8192).content == CUT


@pytest.mark.usefixtures("small_members")
class TestRead:
    def test_it_is_read_as_it_was_at_every_boundary(self, ended):
        archive_logs(now=later())
        size = len(DATA)

        @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(
            offset=st.integers(0, size + 10) | st.sampled_from([n + d for n in range(0, size, 1000) for d in (0, 1)]),
            limit=st.integers(1, 5000) | st.sampled_from([999, 1000, 1001, size, 10 * size]),
        )
        def check(offset, limit):
            assert services.read_log(ended, offset=offset, limit=limit) == DATA[offset : offset + limit]

        check()
        for edge in range(0, size + 1000, 1000):
            for offset in (edge - 1, edge, edge + 1):
                if offset >= 0:
                    assert services.read_log(ended, offset=offset, limit=1) == DATA[offset : offset + 1]

    @pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2000])
    def test_a_log_of_any_size_comes_back(self, rig, offer, size):
        attempt = an_end(rig, offer, DATA[:size])
        archive_logs(now=later())
        assert len(LogArchive.objects.get().members) == -(-size // 1000) + 1
        assert services.read_log(attempt) == DATA[:size]

    def test_only_the_members_that_are_asked_for_are_read(self, ended):
        archive_logs(now=later())
        archive = LogArchive.objects.get()
        with default_storage.open(archive.key) as kept:
            whole = bytearray(kept.read())
        whole[: archive.members[20]] = bytes(archive.members[20])
        with open(default_storage.path(archive.key), "r+b") as kept:
            kept.write(whole)
        assert services.read_log(ended, offset=20_000, limit=3000) == DATA[20_000:23_000]
        with pytest.raises(StorageAway):
            services.read_log(ended, offset=19_999, limit=2)

    def test_everybody_reads_on_as_before(self, rig, offer, ended, task, alice, api):
        client = api(alice)
        before = read(client, task, offset=777)
        archive_logs(now=later())
        after = read(client, task, offset=777)

        assert (after.content, after.headers["X-Log-Next-Offset"]) == (before.content, str(len(DATA)))
        assert read(client, task, offset=len(DATA)).content == b""
        assert piece_of_log(ended.pk, 5, 100) == DATA[5:105]
        assert tail_of(ended, 100) == DATA[-100:].decode("utf-8", "replace")
        client.force_login(alice)
        assert "2999 \ufffd" in client.get(f"/tasks/{task.pk}/").content.decode()

    def test_a_reader_who_looked_before_the_switch_misses_nothing(self, ended):
        stale = Attempt.objects.get(pk=ended.pk)
        got = services.read_log(stale, offset=0, limit=1500)
        archive_logs(now=later())
        while piece := services.read_log(stale, offset=len(got), limit=1500):
            got += piece
        assert got == DATA

    def test_its_host_may_say_the_end_again_and_send_no_more(self, rig, offer, ended):
        archive_logs(now=later())
        rig.log(offer, DATA[-5:], len(DATA) - 5, status=409)
        again = rig.finish(offer, log_size=len(DATA), log_sha256=hashlib.sha256(DATA).hexdigest())
        assert again == {"task_status": "COMPLETED"}
        assert services.read_log(ended) == DATA

    def test_rows_cost_one_query_and_an_archive_one_more(self, ended, django_assert_num_queries):
        with django_assert_num_queries(1):
            services.read_log(ended, offset=10)
        archive_logs(now=later())
        with django_assert_num_queries(2):
            services.read_log(ended, offset=10)

    def test_it_works_in_a_bucket(self, ended, s3_address):
        with keep_files_at(s3_address):
            archive_logs(now=later())
            assert not LogChunk.objects.exists()
            assert services.read_log(ended, offset=1999, limit=1002) == DATA[1999:3001]
            assert services.read_log(ended) == DATA


class TestAway:
    def test_logs_stay_rows_and_the_reason_is_told_once(self, rig, alice, dana, tmp_path, caplog):
        attempts = []
        for number in range(3):
            an_approved_task(alice, dana)
            attempts.append(an_end(rig, running_on(rig), b"text %d" % number))
        (tmp_path / "full").write_text("no folder")
        with keep_files_at(f"file://{tmp_path}/full/storage"), caplog.at_level(logging.WARNING, "app"):
            for minutes in (2, 3, 14):
                archive_logs(now=later(minutes=minutes))
            assert [services.read_log(attempt) for attempt in attempts] == [b"text 0", b"text 1", b"text 2"]
        assert Counter(record.message for record in caplog.records) == {
            "logs stay in the database, since the storage does not take them": 1
        }
        archive_logs(now=later(hours=1))
        assert LogArchive.objects.filter(is_kept=True).count() == 3
        assert caplog.records[-1].message == "the storage takes logs again"

    def test_what_the_storage_spoils_is_not_taken_for_the_log(self, ended, tmp_path):
        with kept_in("Spoiling", tmp_path):
            archive_logs(now=later())
        assert LogChunk.objects.exists()
        assert not LogArchive.objects.filter(is_kept=True).exists()

    def test_a_reader_is_told(self, ended, task, alice, api, tmp_path):
        archive_logs(now=later())
        with keep_files_at(f"file://{tmp_path}/elsewhere"):
            refused(read(api(alice), task), 503, "storage_away")
            assert tail_of(ended, 100).startswith("[gaas: Files cannot be kept or read")


class TestCrash:
    def test_between_the_object_and_the_commit_nothing_is_lost(self, ended, tmp_path):
        with kept_in("Deadly", tmp_path), pytest.raises(Killed):
            archive_logs(now=later())
        assert (objects(), LogArchive.objects.get().is_kept) == (1, False)
        assert services.read_log(ended) == DATA

        archive_logs(now=later())  # the dead one's claim still holds
        assert services.read_log(ended) == DATA
        archive_logs(now=later(minutes=20))
        assert (objects(), LogArchive.objects.count(), LogChunk.objects.count()) == (2, 2, 0)

        archive_logs(now=later(hours=3))
        assert (objects(), LogArchive.objects.get().is_kept) == (1, True)
        assert services.read_log(ended) == DATA

    def test_one_that_was_too_slow_names_no_object_that_may_be_swept(self, ended):
        announce = log_archive._announce(ended.pk, ended.ended_at, log_archive.Packed(len(DATA), "0" * 64, [0, 1]))
        LogArchive.objects.filter(pk=announce.pk).update(created_at=clock.now() - log_archive.ORPHANED)
        assert not log_archive._switch(announce)
        assert LogChunk.objects.exists()
        assert Attempt.objects.get().log_pack_due_at is not None


class TestKeep:
    def test_it_is_kept_for_ever_by_default(self, ended):
        archive_logs(now=later())
        archive_logs(now=later(days=10_000))
        assert services.read_log(ended) == DATA

    def test_an_old_one_is_removed_and_readers_are_told(
        self, ended, task, alice, api, settings, django_capture_on_commit_callbacks
    ):
        settings.LOG_KEEP_DAYS = 30
        archive_logs(now=later())
        archive_logs(now=later(days=29))
        assert services.read_log(ended) == DATA
        with django_capture_on_commit_callbacks(execute=True):
            archive_logs(now=later(days=31))

        assert (objects(), LogArchive.objects.count()) == (0, 0)
        client = api(alice)
        refused(read(client, task), 410, "log_removed")
        assert client.get(f"/api/v1/tasks/{task.pk}/attempts/").json()["results"][0]["log_removed_at"]
        assert tail_of(ended, 100).startswith("[gaas: This log was removed on ")
        assert read(client, task, offset=len(DATA)).status_code == 200


class TestMigration:
    def test_old_logs_become_due_and_the_way_back_makes_rows(self, ended):
        steps = importlib.import_module("tasks.migrations.0013_old_logs_are_due")
        Attempt.objects.update(log_pack_due_at=None)
        steps.call_for_packing(apps, None)
        archive_logs(now=clock.now())
        assert not LogChunk.objects.exists()

        steps.unpack(apps, None)
        assert LogChunk.objects.exists()
        assert services.read_log(ended) == DATA


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
class TestAtOnce:
    def test_of_eight_callers_one_packs(self, ended):
        now = later()
        outcomes = race(*[lambda: pack_log(attempt_id=ended.pk, now=now)] * 8)
        assert Counter(outcomes) == {True: 1, False: 7}
        assert (objects(), LogArchive.objects.count(), LogChunk.objects.count()) == (1, 1, 0)
        assert services.read_log(ended) == DATA

    def test_of_two_that_both_stored_one_wins(self, ended):
        """As where a claim ran out while its packer was still at work."""
        now = later()
        stored = []
        for number in range(2):
            stored.append(log_archive._announce(ended.pk, ended.ended_at, log_archive.Packed(len(DATA), "0", [0, 1])))
            default_storage.save(stored[number].key, ContentFile(b"x"))
        outcomes = race(*[lambda archive=archive: log_archive._switch(archive) for archive in stored])
        assert Counter(outcomes) == {True: 1, False: 1}
        assert LogArchive.objects.filter(is_kept=True).count() == 1
        assert not pack_log(attempt_id=ended.pk, now=now)

    def test_who_reads_meanwhile_misses_nothing(self, ended):
        def follow():
            got, rounds = b"", 0
            attempt = Attempt.objects.get(pk=ended.pk)
            while rounds < 40:
                rounds, got = rounds + 1, b""
                while piece := services.read_log(attempt, offset=len(got), limit=4096):
                    got += piece
                assert got == DATA
            return rounds

        outcomes = race(follow, follow, lambda: pack_log(attempt_id=ended.pk, now=later()))
        assert outcomes == [40, 40, True]
