"""What attempts leave: sent by agents, listed at the end, fetched by people; checkpoints go on to the next attempt."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import timedelta

import pytest

from accounts.services import set_storage_quota, storage_of
from gaas.lib import clock
from tasks import services
from tasks.models import Artifact, Attempt, StoredFile
from tasks.services import artifacts, files
from tasks.tests.rig import Rig, an_approved_task, left, offered_to, refused, running_on

pytestmark = pytest.mark.django_db

DATA = b"weights " * 1000
MORE = b"metrics\n"


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice, dana):
    return an_approved_task(alice, dana)


@pytest.fixture
def offer(rig, task):
    return running_on(rig)


def listing(task):
    return f"/api/v1/tasks/{task.pk}/artifacts/"


class TestPut:
    def test_a_file_in_one_go(self, rig, offer, task, alice, api):
        assert rig.put(offer, "model/weights.bin", DATA) == {"offset": len(DATA), "is_whole": True}
        (row,) = api(alice).get(listing(task)).json()["results"]
        assert row["name"] == "model/weights.bin"
        assert row["sha256"] == hashlib.sha256(DATA).hexdigest()
        assert storage_of(task.account).used == len(DATA)

    def test_it_goes_on_where_it_was_cut_off(self, rig, offer, task, alice, api):
        assert rig.put(offer, "a", DATA[:100], of=DATA) == {"offset": 100, "is_whole": False}
        assert rig.put(offer, "a", DATA[200:], of=DATA, offset=200, status=416)["offset"] == 100
        assert api(alice).get(listing(task)).json()["results"] == []
        assert rig.put(offer, "a", DATA[50:], of=DATA, offset=50)["is_whole"] is True
        assert rig.put(offer, "a", DATA)["is_whole"] is True
        (row,) = api(alice).get(listing(task)).json()["results"]
        assert b"".join(api(alice).get(f"{listing(task)}{row['id']}/content/")) == DATA

    def test_one_that_was_written_anew_takes_the_place_of_the_first(self, rig, offer, task):
        rig.put(offer, "a", DATA[:100], of=DATA)
        rig.put(offer, "a", MORE)
        assert Artifact.objects.get().file.size == len(MORE)
        assert storage_of(task.account).used == len(MORE)

    def test_other_bytes_than_named_are_thrown_away(self, rig, offer, task):
        answer = rig.put(offer, "a", DATA, sha256="0" * 64, status=422)
        assert answer["errors"][0]["code"] == "wrong_hash"
        assert not Artifact.objects.exists()
        assert storage_of(task.account).used == 0
        rig.put(offer, "a", DATA)

    @pytest.mark.parametrize(
        "name", ["../x", "/etc/passwd", "a/../../b", "a\\b", "", "a\x00b", "a\nb", "nul", "x" * 600, "a//b", "\u202ex"]
    )
    def test_unsafe_names_are_refused(self, rig, offer, name):
        answer = rig.put(offer, name, DATA, status=400)
        assert answer["errors"][0]["attr"] in ("name", None)
        assert not StoredFile.objects.exists()

    def test_names_that_only_some_systems_tell_apart_are_refused(self, rig, offer):
        rig.put(offer, "Model.bin", DATA)
        assert rig.put(offer, "model.BIN", MORE, status=400)["errors"][0]["code"] == "bad_name"

    @pytest.mark.parametrize(
        "changes",
        [{"size": "-1"}, {"size": "x"}, {"sha256": "x"}, {"offset": "1_0"}, {"epoch": "x"}, {"kind": "log"}],
        ids=lambda changes: "-".join(changes),
    )
    def test_what_is_no_call_is_refused(self, rig, offer, changes):
        rig.put(offer, "a", DATA, status=400, **changes)

    def test_more_than_was_named_is_refused(self, rig, offer):
        assert rig.put(offer, "a", DATA, size=5, status=400)["errors"][0]["code"] == "file_too_long"

    def test_no_more_than_so_many_are_kept(self, rig, offer, settings):
        settings.MAX_ARTIFACTS = 2
        rig.put(offer, "a", DATA)
        rig.put(offer, "b", DATA)
        assert rig.put(offer, "c", DATA, status=400)["errors"][0]["code"] == "too_many_files"

    def test_the_quota_of_the_account_bounds_them(self, rig, offer, task, dana):
        set_storage_quota(account=task.account, quota_bytes=len(DATA), by=dana, reason="")
        rig.put(offer, "a", DATA)
        assert rig.put(offer, "b", MORE, status=400)["errors"][0]["code"] == "storage_full"
        rig.finish(offer, artifacts=[left("a", DATA)], files_note="b was not kept: the storage is full.")
        assert Attempt.objects.get().files_note.startswith("b was not kept")

    def test_a_host_that_was_not_given_the_task_may_not(self, rig, offer, charlie):
        other = Rig(charlie.personal_account, name="other")
        assert other.put(offer, "a", DATA, status=409)["errors"][0]["code"] == "lease_lost"
        assert other.keep_checkpoint(offer, {}, status=409)["errors"][0]["code"] == "lease_lost"
        assert not StoredFile.objects.exists()

    @pytest.mark.parametrize("epoch", [0, 2, 999999999])
    def test_another_epoch_may_not(self, rig, offer, epoch):
        rig.put({**offer, "epoch": epoch}, "a", DATA, status=409)

    def test_not_before_the_start_nor_after_the_end(self, rig, task):
        offer = offered_to(rig)
        rig.put(offer, "a", DATA, status=409)
        rig.start(offer)
        rig.finish(offer)
        rig.put(offer, "a", DATA, status=409)

    def test_it_takes_few_queries(self, rig, offer, django_assert_max_num_queries):
        rig.put(offer, "a", DATA)
        # The host; the attempt, the name, how many, the room, the two rows; the piece and its count under the
        # attempt's lock; whole. Three transactions.
        with django_assert_max_num_queries(26):
            rig.put(offer, "b", MORE)


class TestFinish:
    def test_it_is_refused_until_what_it_lists_is_whole(self, rig, offer):
        rig.put(offer, "a", DATA[:100], of=DATA)
        answer = rig.finish(offer, artifacts=[left("a", DATA)], status=409)
        assert answer["errors"][0]["code"] == "artifacts_incomplete"
        rig.put(offer, "a", DATA[100:], of=DATA, offset=100)
        rig.finish(offer, artifacts=[left("a", DATA)])

    def test_other_content_than_was_sent_is_missing(self, rig, offer):
        rig.put(offer, "a", DATA)
        rig.finish(offer, artifacts=[left("a", MORE)], status=409)

    def test_what_was_given_up_is_said_in_the_task(self, rig, offer, task, alice, api):
        rig.finish(offer, files_note="99 000 files were not kept: at most 1000 are.")
        client = api(alice)
        assert client.get(f"/api/v1/tasks/{task.pk}/").json()["files_note"].startswith("99 000 files")
        (attempt,) = client.get(f"/api/v1/tasks/{task.pk}/attempts/").json()["results"]
        assert attempt["files_note"].startswith("99 000 files")

    @pytest.mark.parametrize(
        "listed", [5, [5], [{"name": "a"}], [{"name": "a", "size": -1, "sha256": "0" * 64}], [left("a", b"")] * 10_001]
    )
    def test_a_list_that_is_none_is_refused(self, rig, offer, listed):
        rig.finish(offer, artifacts=listed, status=400)


class TestFetch:
    @pytest.fixture
    def ended(self, rig, offer, task):
        rig.put(offer, "model/weights.bin", DATA)
        rig.put(offer, "metrics.txt", MORE)
        rig.finish(offer, artifacts=[left("model/weights.bin", DATA), left("metrics.txt", MORE)])
        return task

    def test_by_ranges(self, ended, alice, api):
        client = api(alice)
        (row,) = client.get(f"{listing(ended)}?name=metrics.txt").json()["results"]
        answer = client.get(f"{listing(ended)}{row['id']}/content/", headers={"Range": "bytes=-3"})
        assert (answer.status_code, b"".join(answer)) == (206, MORE[-3:])
        assert answer["Content-Disposition"] == 'attachment; filename="metrics.txt"'

    def test_all_at_once(self, ended, alice, api):
        answer = api(alice).get(f"{listing(ended)}archive/")
        assert answer["Content-Type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(b"".join(answer)))
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "model/weights.bin": DATA,
            "metrics.txt": MORE,
        }

    def test_of_an_attempt_that_left_nothing_there_is_no_archive(self, task, alice, api):
        refused(api(alice).get(f"{listing(task)}archive/"), 404)
        refused(api(alice).get(f"{listing(task)}archive/?attempt=x"), 404)

    def test_a_stranger_finds_nothing(self, ended, charlie, api):
        row = Artifact.objects.first()
        for path in ("", "archive/", f"{row.pk}/", f"{row.pk}/content/"):
            refused(api(charlie).get(f"{listing(ended)}{path}"), 404)

    def test_nor_does_the_path_of_another_task_lead_to_it(self, ended, charlie, dana, api):
        own = an_approved_task(charlie, dana)
        refused(api(charlie).get(f"{listing(own)}{Artifact.objects.first().pk}/content/"), 404)

    def test_they_go_when_their_time_is_over(self, ended, alice, api, settings):
        files.sweep_files(now=clock.now() + timedelta(seconds=settings.ARTIFACT_KEEP_SECONDS + 1))
        assert api(alice).get(listing(ended)).json()["results"] == []
        assert storage_of(ended.account).used == 0


class TestCheckpoint:
    def test_the_next_attempt_is_given_it(self, rig, offer, task):
        rig.put(offer, "step-1.pt", DATA, kind="checkpoint")
        assert rig.keep_checkpoint(offer, {"step-1.pt": DATA}) == {"kept": 1}
        rig.finish(offer, "FAILED", fault="host", code="disk")

        again = offered_to(rig)

        (file,) = again["checkpoint"]
        assert (file["path"], file["size"]) == ("step-1.pt", len(DATA))
        assert b"".join(rig.get(again, file["id"])) == DATA
        rig.start(again)
        assert rig.sync()["attempts"][0]["checkpoint"] == []

    def test_what_was_sent_but_not_kept_is_none(self, rig, offer):
        rig.put(offer, "step-1.pt", DATA, kind="checkpoint")
        rig.finish(offer, "FAILED", fault="host", code="disk")
        assert offered_to(rig)["checkpoint"] == []

    def test_it_is_replaced_in_one_step(self, rig, offer, task):
        rig.put(offer, "step-1.pt", DATA, kind="checkpoint")
        rig.put(offer, "same.json", MORE, kind="checkpoint")
        rig.keep_checkpoint(offer, {"step-1.pt": DATA, "same.json": MORE})
        rig.put(offer, "step-2.pt", DATA * 2, kind="checkpoint")
        assert rig.keep_checkpoint(offer, {"step-2.pt": DATA * 2, "same.json": MORE}) == {"kept": 2}
        assert set(Artifact.objects.checkpoint().values_list("name", flat=True)) == {"step-2.pt", "same.json"}
        assert storage_of(task.account).used == 2 * len(DATA) + len(MORE)

    def test_a_file_of_the_same_name_is_replaced_by_its_new_content(self, rig, offer, task):
        for data in (DATA, MORE, DATA):
            rig.put(offer, "last.pt", data, kind="checkpoint")
            rig.keep_checkpoint(offer, {"last.pt": data})
        assert Artifact.objects.checkpoint().get().file.size == len(DATA)
        assert storage_of(task.account).used == len(DATA)

    def test_one_that_is_not_there_leaves_it_as_it_was(self, rig, offer):
        rig.put(offer, "last.pt", DATA, kind="checkpoint")
        rig.keep_checkpoint(offer, {"last.pt": DATA})
        rig.put(offer, "next.pt", MORE[:2], of=MORE, kind="checkpoint")
        answer = rig.keep_checkpoint(offer, {"next.pt": MORE}, status=409)
        assert answer["errors"][0]["code"] == "artifacts_incomplete"
        assert Artifact.objects.checkpoint().get().name == "last.pt"

    def test_the_next_attempt_goes_on_from_what_another_kept(self, rig, offer, task):
        rig.put(offer, "last.pt", DATA, kind="checkpoint")
        rig.keep_checkpoint(offer, {"last.pt": DATA})
        rig.finish(offer, "FAILED", fault="host", code="disk")
        again = running_on(rig)
        assert rig.keep_checkpoint(again, {"last.pt": DATA}) == {"kept": 1}
        rig.put(again, "last.pt", MORE, kind="checkpoint")
        rig.keep_checkpoint(again, {"last.pt": MORE})
        assert Artifact.objects.checkpoint().get().attempt_id == Attempt.objects.get(epoch=2).pk

    def test_it_is_no_result(self, rig, offer, task, alice, api):
        rig.put(offer, "last.pt", DATA, kind="checkpoint")
        rig.keep_checkpoint(offer, {"last.pt": DATA})
        assert api(alice).get(listing(task)).json()["results"] == []

    def test_it_is_kept_while_its_task_lives_and_a_while_after(self, rig, offer, task, settings):
        rig.put(offer, "last.pt", DATA, kind="checkpoint")
        rig.keep_checkpoint(offer, {"last.pt": DATA})
        now = clock.now()
        files.sweep_files(now=now + timedelta(days=365))
        artifacts.sweep_checkpoints(now=now + timedelta(days=365))
        assert Artifact.objects.checkpoint().exists()

        rig.finish(offer)
        artifacts.sweep_checkpoints(now=now)
        assert Artifact.objects.checkpoint().exists()
        artifacts.sweep_checkpoints(now=now + timedelta(seconds=settings.CHECKPOINT_KEEP_SECONDS + 60))
        assert not Artifact.objects.exists()
        assert storage_of(task.account).used == 0

    def test_the_whole_sweep_removes_too(self, rig, offer, settings):
        services.sweep(now=clock.now())
        rig.put(offer, "a", DATA)
        rig.finish(offer, artifacts=[left("a", DATA)])
        settings.LEASE_SECONDS = 10**9
        services.sweep(now=clock.now() + timedelta(seconds=settings.ARTIFACT_KEEP_SECONDS + 1))
        assert not Artifact.objects.kept().exists()


class TestPage:
    def test_a_task_shows_what_it_left_as_files_to_save(self, rig, offer, task, alice, client):
        name = "<img src=x onerror=alert(1)>.bin"
        rig.put(offer, name, DATA)
        rig.finish(offer, artifacts=[left(name, DATA)], files_note="Not kept: <b>: it is a link.")
        client.force_login(alice)
        page = client.get(f"/tasks/{task.pk}/").content.decode()
        assert f"/artifacts/{Artifact.objects.get().pk}/content/" in page
        assert "&lt;img src=x" in page
        assert "<img src=x" not in page
        assert "&lt;b&gt;: it is a link." in page

    def test_staff_see_them_in_the_admin(self, rig, offer, task, root, client):
        rig.put(offer, "<i>.bin", DATA)
        rig.finish(offer, artifacts=[left("<i>.bin", DATA)])
        client.force_login(root)
        page = client.get(f"/admin/tasks/task/{task.pk}/change/").content.decode()
        assert "&lt;i&gt;.bin</a>: 7.8 KiB, attempt 1" in page
        assert "<i>.bin" not in page
