"""What is due is removed, whatever is the matter with one of it."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage

from accounts.services import storage_of
from gaas.lib import clock
from tasks import services
from tasks.choices import FileStatus
from tasks.models import Artifact, FilePiece, StoredFile
from tasks.services import files
from tasks.services.artifacts import sweep_checkpoints
from tasks.tests.rig import Rig, an_approved_task, running_on

pytestmark = pytest.mark.django_db


def an_upload(by: Any) -> StoredFile:
    upload = services.create_upload(name="a", size=3, account=by.personal_account, by=by, now=clock.now())
    services.send_upload(upload, offset=0, stream=io.BytesIO(b"abc"), length=3, by=by)
    services.complete_upload(upload, sha256="", by=by, now=clock.now())
    return StoredFile.objects.get(pk=upload.file_id)


def test_a_file_that_cannot_be_removed_does_not_keep_the_others(
    alice: Any, charlie: Any, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = an_upload(alice), an_upload(charlie)
    StoredFile.objects.filter(pk=broken.pk).update(status="ODD")  # from which no transition leads anywhere
    files.sweep_files(now=clock.now() + timedelta(seconds=settings.UPLOAD_KEEP_SECONDS + 1))
    statuses = [StoredFile.objects.get(pk=file.pk).status for file in (broken, sound)]
    assert statuses == ["ODD", FileStatus.REMOVED]
    assert str(broken.pk) in caplog.text


def test_an_object_that_cannot_be_deleted_does_not_keep_the_others(alice: Any, charlie: Any) -> None:
    pieces = list(FilePiece.objects.filter(file__in=[an_upload(alice), an_upload(charlie)]).order_by("created_at"))
    first = Path(default_storage.path(pieces[0].key))
    first.unlink()
    (first / "in the way").mkdir(parents=True)
    FilePiece.objects.update(is_kept=False)
    files.drop(pieces)
    assert list(FilePiece.objects.all()) == pieces[:1]
    assert not default_storage.exists(pieces[1].key)


class TestOldCheckpoints:
    """Checkpoints of tasks that ended, one file each, in two accounts."""

    @pytest.fixture
    def old(self, alice: Any, charlie: Any, dana: Any, olga: Any) -> list[FilePiece]:
        rig = Rig(olga.personal_account)
        for number, user in enumerate((alice, charlie, alice)):
            an_approved_task(user, dana)
            offer, data = running_on(rig), b"x" * (number + 1)
            rig.put(offer, "last.pt", data, kind="checkpoint")
            rig.keep_checkpoint(offer, {"last.pt": data})
            rig.finish(offer)
        assert Artifact.objects.checkpoint().count() == 3
        return list(FilePiece.objects.order_by("created_at"))

    @staticmethod
    def in_the_way_of(piece: FilePiece) -> Path:
        """Put a folder with something in it in an object's place, which no storage deletes."""
        place = Path(default_storage.path(piece.key))
        place.unlink()
        (place / "in the way").mkdir(parents=True)
        return place

    @pytest.mark.parametrize("at_once", [1, 100])
    def test_an_object_that_cannot_be_deleted_keeps_no_other_and_is_tried_again(
        self,
        old: list[FilePiece],
        alice: Any,
        settings: LazySettings,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        django_capture_on_commit_callbacks: Any,
        at_once: int,
    ) -> None:
        monkeypatch.setattr(files, "BATCH", at_once)
        place = self.in_the_way_of(old[0])
        later = clock.now() + timedelta(seconds=settings.CHECKPOINT_KEEP_SECONDS + settings.UPLOAD_OPEN_SECONDS)

        def sweep() -> None:
            with django_capture_on_commit_callbacks(execute=True):
                sweep_checkpoints(now=later)
                files.sweep_files(now=later)

        for _ in range(6):
            sweep()
        assert not Artifact.objects.exists()
        assert storage_of(alice.personal_account).used == 0
        assert list(FilePiece.objects.all()) == old[:1]
        assert [default_storage.exists(piece.key) for piece in old] == [True, False, False]
        assert "cannot be deleted" in caplog.text

        (place / "in the way").rmdir()
        place.rmdir()
        place.touch()
        sweep()
        assert not FilePiece.objects.exists()
        assert not place.exists()

    def test_one_that_cannot_be_removed_keeps_no_other(
        self,
        old: list[FilePiece],
        settings: LazySettings,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(files, "BATCH", 1)
        StoredFile.objects.filter(pk=old[0].file_id).update(status="ODD")
        later = clock.now() + timedelta(seconds=settings.CHECKPOINT_KEEP_SECONDS + 1)
        for number in range(4):
            sweep_checkpoints(now=later + timedelta(seconds=number))
        (left,) = Artifact.objects.all()
        assert left.file_id == old[0].file_id
        assert str(left.pk) in caplog.text
        StoredFile.objects.filter(pk=old[0].file_id).update(status=FileStatus.WHOLE)
        sweep_checkpoints(now=later + timedelta(seconds=9))
        assert not Artifact.objects.exists()
