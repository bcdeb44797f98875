"""The server's disk is full: said in a way that has the agent come again, and nothing is lost or kept by half."""

from __future__ import annotations

import os

import pytest

from gaas.tests.disks import database_full, small_disk
from gaas.tests.s3 import keep_files_at
from tasks.models import Artifact, Attempt, FilePiece, LogChunk
from tasks.services import read_log
from tasks.tests.rig import Rig, an_approved_task, running_on

pytestmark = pytest.mark.django_db(transaction=True)

DATA = os.urandom(200_000)


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def offer(rig, alice, dana):
    an_approved_task(alice, dana)
    return running_on(rig)


class TestDatabase:
    def test_a_log_is_refused_for_now_and_goes_on_without_loss(self, rig, offer):
        rig.log(offer, DATA[:1000], 0)
        with database_full("tasks_logchunk"):
            url = f"/api/agent/v1/attempts/{offer['id']}/logs?epoch={offer['epoch']}&offset=1000"
            answer = rig.http.post(url, DATA[1000:], content_type="application/octet-stream")
            assert answer.status_code == 503, answer.content
            assert answer.json()["errors"][0]["code"] == "database_full"
            assert answer["Retry-After"]
            attempt = Attempt.objects.get()
            assert (attempt.log_size, LogChunk.objects.count()) == (1000, 1)
        assert rig.log(offer, DATA[1000:], 1000) == {"offset": len(DATA)}
        assert read_log(Attempt.objects.get()) == DATA


class TestStorage:
    def test_a_result_is_refused_for_now_and_goes_on_without_loss(self, rig, offer, tmp_path):
        with small_disk(tmp_path / "disk", mib=1) as disk, keep_files_at(f"file://{disk}/kept"):
            filler = disk / "filler"
            filler.write_bytes(b"x" * 900_000)
            for _ in range(3):
                answer = rig.put(offer, "a", DATA, status=503)
                assert answer["errors"][0]["code"] == "storage_away"
            # Tries leave nothing behind that takes the last room.
            assert not FilePiece.objects.exists()
            assert [path for path in (disk / "kept").rglob("*") if path.is_file()] == []
            filler.unlink()
            assert rig.put(offer, "a", DATA) == {"offset": len(DATA), "is_whole": True}
            assert Artifact.objects.get().file.is_whole
