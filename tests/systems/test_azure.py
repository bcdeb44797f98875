"""Files in a container of Azure's, on Azurite: sent, resumed, given to tasks, read by ranges, removed, and away."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import zipfile
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from accounts.services import storage_of
from gaas import health
from gaas.lib import clock
from gaas.tests.s3 import keep_files_at
from tasks import services
from tasks.models import Artifact, Attempt, FilePiece, LogArchive, LogChunk, Task
from tasks.services import files, log_archive
from tasks.tests.rig import Rig, a_body, an_approved_task, offered_to, refused, running_on
from tasks.tests.test_uploads import DATA, SHA256, UPLOADS, an_upload, begin, complete, put
from tests.peers import Missing
from tests.systems.azurite import KEY, OTHER_KEY, azurite, binary
from tests.systems.conftest import not_run
from tests.systems.house import Up
from tests.systems.people import eventually, newcomer
from tests.systems.test_files import ENVIRONMENT, hand_on_from_task_to_task

pytestmark = [pytest.mark.systems, pytest.mark.django_db]

TASKS = "/api/v1/tasks/"


@pytest.fixture(scope="module")
def azure():
    if importlib.util.find_spec("azure") is None:
        not_run("azure-storage-blob is not installed (requirements-storage.txt)")
    try:
        binary()
    except Missing as why:
        not_run(f"Azure: {why}")
    with azurite() as running:
        yield running


@pytest.fixture
def container(azure):
    """Give the name of an empty container."""
    return azure.container()


@pytest.fixture
def address(azure, container):
    """Give its STORAGE_URL."""
    return azure.address(container)


@pytest.fixture
def here(address):
    """Have files kept there in this test."""
    with keep_files_at(address):
        yield


@pytest.fixture
def names(azure, container, here):
    """Tell what lies there."""
    return lambda: azure.names(container)


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch):
    monkeypatch.setattr(health, "_kept", (-health.KEEP_SECONDS, {}))
    log_archive.outage.ends()


class TestContainer:
    def test_it_keeps_and_gives_back(self, names):
        key = default_storage.save("a/b", ContentFile(b"bytes"))
        assert names() == ["kept/a/b"]
        with default_storage.open(key) as file:
            assert file.read() == b"bytes"
        assert default_storage.read_range(key, 1, 3) == b"yte"
        default_storage.delete(key)
        default_storage.delete(key)
        assert not default_storage.exists(key)

    def test_nothing_is_ever_replaced(self, names):
        from azure.core.exceptions import ResourceExistsError

        key = default_storage.save("a/b", ContentFile(b"bytes"))
        assert default_storage.save("a/b", ContentFile(b"others")) != key
        # Nor where two come at once, and neither saw the other's.
        with pytest.raises(ResourceExistsError):
            default_storage._save(key, ContentFile(b"others"))
        with default_storage.open(key) as file:
            assert file.read() == b"bytes"

    def test_readiness_asks_it(self, names):
        assert health.check_storage() is None
        assert names() == []


class TestUploads:
    def test_one_goes_on_where_it_was_cut_off(self, alice, api, azure, container, names, monkeypatch):
        monkeypatch.setattr(files, "PIECE_BYTES", 5000)
        client = api(alice)
        id_ = begin(client, sha256=SHA256).json()["id"]
        put(client, id_, DATA[:7000])
        assert put(client, id_, DATA[9000:], 9000).status_code == 416
        assert client.get(f"{UPLOADS}{id_}/").json()["offset"] == 7000
        assert put(client, id_, DATA[6000:], 6000).json() == {"offset": len(DATA)}
        assert complete(client, id_).json()["sha256"] == SHA256
        assert names() == sorted(f"kept/{key}" for key in FilePiece.objects.values_list("key", flat=True))
        assert sorted(azure.sizes(container)) == [2000, 4384, 5000, 5000]

    def test_it_is_read_by_ranges_and_no_browser_takes_it_for_a_page(self, alice, api, here, monkeypatch):
        monkeypatch.setattr(files, "PIECE_BYTES", 5000)
        client = api(alice)
        path = f"{UPLOADS}{an_upload(client, name='page.html')}/content/"
        assert b"".join(client.get(path)) == DATA
        part = client.get(path, headers={"Range": "bytes=4000-11000"})
        assert (part.status_code, b"".join(part)) == (206, DATA[4000:11001])
        assert part["Content-Range"] == f"bytes 4000-11000/{len(DATA)}"
        assert part["Content-Type"] == "application/octet-stream"
        assert part["X-Content-Type-Options"] == "nosniff"
        assert part["Content-Disposition"].startswith("attachment")
        assert b"".join(client.get(path, headers={"Range": "bytes=-1"})) == DATA[-1:]
        refused(client.get(path, headers={"Range": f"bytes={len(DATA)}-"}), 416, "range_not_here")

    def test_other_bytes_than_promised_are_thrown_away(self, alice, api, names, django_capture_on_commit_callbacks):
        client = api(alice)
        id_ = begin(client, sha256=hashlib.sha256(b"others").hexdigest()).json()["id"]
        put(client, id_, DATA[:5])
        put(client, id_, DATA[5:], 5)
        assert len(names()) == 2
        with django_capture_on_commit_callbacks(execute=True):
            refused(complete(client, id_), 422, "wrong_hash", "sha256")
        assert names() == []
        assert storage_of(alice.personal_account).used == 0

    def test_what_is_due_is_removed(self, alice, api, names, settings, django_capture_on_commit_callbacks):
        client = api(alice)
        an_upload(client)
        put(client, begin(client).json()["id"], DATA[:5])
        assert len(names()) == 2
        for seconds, left in ((settings.UPLOAD_OPEN_SECONDS, 1), (settings.UPLOAD_KEEP_SECONDS, 0)):
            with django_capture_on_commit_callbacks(execute=True):
                files.sweep_files(now=clock.now() + timedelta(seconds=seconds + 1))
            assert len(names()) == FilePiece.objects.count() == left


class TestTasks:
    def test_one_is_given_inputs_and_leaves_results(self, rig, alice, dana, api, names):
        client = api(alice)
        asked = a_body(inputs=[{"upload": an_upload(client), "as": "data/train.csv"}], hours="1")
        task = client.post(TASKS, asked, format="json").json()
        services.approve(Task.objects.get(pk=task["id"]), by=dana, now=clock.now())
        offer = offered_to(rig)
        (given,) = offer["inputs"]
        assert given["sha256"] == SHA256
        assert b"".join(rig.get(offer, given["id"], Range="bytes=100-")) == DATA[100:]
        rig.start(offer)
        assert rig.put(offer, "model.bin", DATA[:100], of=DATA) == {"offset": 100, "is_whole": False}
        assert rig.put(offer, "model.bin", DATA[100:], of=DATA, offset=100)["is_whole"]
        rig.finish(offer, artifacts=[{"name": "model.bin", "size": len(DATA), "sha256": SHA256}])

        path = f"{TASKS}{task['id']}/artifacts/"
        (row,) = client.get(path).json()["results"]
        part = client.get(f"{path}{row['id']}/content/", headers={"Range": "bytes=99-101"})
        assert (part.status_code, b"".join(part)) == (206, DATA[99:102])
        packed = zipfile.ZipFile(io.BytesIO(b"".join(client.get(f"{path}archive/"))))
        assert packed.read("model.bin") == DATA
        assert len(names()) == 3

    def test_a_checkpoint_is_given_to_the_next_attempt(self, rig, alice, dana, names):
        an_approved_task(alice, dana)
        offer = running_on(rig)
        rig.put(offer, "step-1.pt", DATA, kind="checkpoint")
        rig.keep_checkpoint(offer, {"step-1.pt": DATA})
        rig.finish(offer, "FAILED", fault="host", code="disk")
        again = offered_to(rig)
        assert b"".join(rig.get(again, again["checkpoint"][0]["id"])) == DATA

    def test_its_log_becomes_an_object_that_is_read_by_ranges(
        self, rig, alice, dana, names, monkeypatch, settings, django_capture_on_commit_callbacks
    ):
        monkeypatch.setattr(log_archive, "MEMBER_BYTES", 1000)
        monkeypatch.setattr(log_archive, "READ_MEMBERS", 4)
        an_approved_task(alice, dana)
        offer = running_on(rig)
        rig.log(offer, DATA, 0)
        rig.finish(offer, log_size=len(DATA), log_sha256=SHA256)
        attempt = Attempt.objects.get()
        log_archive.archive_logs(now=clock.now() + timedelta(minutes=2))
        assert not LogChunk.objects.exists()
        assert names() == [f"kept/{LogArchive.objects.get().key}"]

        assert services.read_log(attempt, offset=1999, limit=1002) == DATA[1999:3001]
        assert services.read_log(attempt) == DATA

        settings.LOG_KEEP_DAYS = 30
        with django_capture_on_commit_callbacks(execute=True):
            log_archive.archive_logs(now=clock.now() + timedelta(days=31))
        assert names() == []


class TestAway:
    """What an operator got wrong, and an Azure that is not there: said, and nothing is lost or forgotten."""

    def test_a_wrong_key_is_said_and_sending_goes_on_with_the_right_one(
        self, alice, api, azure, container, address, caplog
    ):
        client = api(alice)
        id_ = begin(client, sha256=SHA256).json()["id"]
        with keep_files_at(azure.address(container, key=OTHER_KEY)), caplog.at_level(logging.WARNING):
            answer = put(client, id_, DATA)
            ready = Client().get("/readyz")
        refused(answer, 503, "storage_away")
        assert answer["Retry-After"]
        assert ready.status_code == 503
        assert ready.json()["checks"]["storage"] != "ok"
        assert "Server failed to authenticate the request" in caplog.text
        assert OTHER_KEY not in caplog.text
        with keep_files_at(address):
            assert client.get(f"{UPLOADS}{id_}/").json()["offset"] == 0
            put(client, id_, DATA)
            assert complete(client, id_).status_code == 200

    def test_a_container_that_is_missing_is_said(self, alice, api, azure, caplog):
        client = api(alice)
        id_ = begin(client).json()["id"]
        with keep_files_at(azure.address("no-such-container")), caplog.at_level(logging.WARNING):
            refused(put(client, id_, DATA), 503, "storage_away")
            assert Client().get("/readyz").status_code == 503
        assert "ContainerNotFound" in caplog.text
        assert "The specified container does not exist" in caplog.text

    def test_what_is_removed_meanwhile_is_not_forgotten(
        self, alice, api, azure, container, address, settings, django_capture_on_commit_callbacks
    ):
        client = api(alice)
        with keep_files_at(address):
            id_ = an_upload(client)
        with keep_files_at(azure.address("no-such-container")):
            refused(client.get(f"{UPLOADS}{id_}/content/"), 503, "storage_away")
            with django_capture_on_commit_callbacks(execute=True):
                assert client.delete(f"{UPLOADS}{id_}/").status_code == 204
        assert len(azure.names(container)) == FilePiece.objects.count() == 1
        with keep_files_at(address):
            files.sweep_files(now=clock.now() + timedelta(seconds=settings.UPLOAD_OPEN_SECONDS + 1))
        assert azure.names(container) == []
        assert not FilePiece.objects.exists()

    def test_an_object_that_is_gone_is_said(self, alice, api, azure, address, here):
        client = api(alice)
        id_ = an_upload(client)
        default_storage.delete(FilePiece.objects.get().key)
        refused(client.get(f"{UPLOADS}{id_}/content/"), 503, "storage_away")

    def test_a_log_stays_rows(self, rig, alice, dana, azure, caplog):
        an_approved_task(alice, dana)
        offer = running_on(rig)
        rig.log(offer, DATA, 0)
        rig.finish(offer, log_size=len(DATA), log_sha256=SHA256)
        with keep_files_at(azure.address("no-such-container")):
            log_archive.archive_logs(now=clock.now() + timedelta(minutes=2))
        assert services.read_log(Attempt.objects.get()) == DATA
        assert "the storage does not take them" in caplog.text

    def test_a_result_is_refused_for_now_and_goes_on_without_loss(self, rig, alice, dana, azure, address):
        an_approved_task(alice, dana)
        offer = running_on(rig)
        with keep_files_at(azure.address("no-such-container")):
            assert rig.put(offer, "a", DATA, status=503)["errors"][0]["code"] == "storage_away"
        with keep_files_at(address):
            assert rig.put(offer, "a", DATA)["is_whole"]
        assert Artifact.objects.get().file.is_whole


@pytest.mark.long
def test_a_house_keeps_everything_there(azure, container, address, tmp_path):
    with Up(tmp_path, {**ENVIRONMENT, "STORAGE_URL": address}) as house:
        alice = newcomer(house.url, "alice", patient=True)
        hand_on_from_task_to_task(house, alice)

        def folders() -> list[str]:
            return [name.split("/")[1] for name in azure.names(container)]

        # An upload in three parts and two results.
        assert folders().count("files") >= 5
        assert not (tmp_path / "home" / "storage").exists()
        (upload,) = alice.pages("uploads/")
        before = folders().count("files")
        alice.ask("DELETE", f"uploads/{upload['id']}/")
        eventually(60, "its parts are gone", lambda: folders().count("files") == before - 3)
        said = (tmp_path / "up.log").read_text()
        assert KEY not in said
        assert quote(KEY, safe="") not in said
