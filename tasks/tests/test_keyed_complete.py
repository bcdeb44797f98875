"""POST uploads/{id}/complete/ with an Idempotency-Key: minutes of reading, and no transaction meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connections

from gaas.lib import clock
from gaas.outbox.models import IdempotencyKey
from tasks import services
from tasks.models import Upload
from tasks.services import files
from tasks.tests.rig import refused
from tasks.tests.slow_storage import SlowStorage
from tasks.tests.test_uploads import UPLOADS, begin, put

pytestmark = pytest.mark.django_db(transaction=True)

DATA = bytes(range(256)) * 256 * 24  # 24 blocks
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def storage(settings, tmp_path: Path):
    backend = {"BACKEND": "tasks.tests.slow_storage.SlowStorage", "OPTIONS": {"location": tmp_path / "storage"}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    SlowStorage.reset()
    yield SlowStorage
    SlowStorage.reset()


@pytest.fixture
def sent(alice, api):
    """All the bytes of an upload that is not completed."""
    id_ = begin(api(alice), size=len(DATA)).json()["id"]
    assert put(api(alice), id_, DATA).status_code == 200
    return id_


def complete(client, id_, key="once", **body):
    return client.post(f"{UPLOADS}{id_}/complete/", body, format="json", headers={"Idempotency-Key": key})


def test_no_transaction_is_open_while_the_bytes_are_read(alice, api, sent, storage):
    answer = complete(api(alice), sent)
    assert (answer.status_code, answer.json()["sha256"]) == (200, SHA256)
    assert len(storage.reads) >= 24
    assert not any(storage.reads)


def test_sent_again_it_has_one_answer_and_reads_nothing(alice, api, sent, storage):
    first = complete(api(alice), sent)
    storage.reads.clear()
    again = complete(api(alice), sent)
    assert (again.content, again["Idempotent-Replayed"]) == (first.content, "true")
    assert complete(api(alice), sent, key="another").json() == first.json()
    assert storage.reads == []


def test_a_call_that_reads_longer_than_its_lock_keeps_the_key(alice, api, sent, settings, monkeypatch):
    """Time goes by at each look at the clock, and at the second block the lock has run out but for its renewals."""
    looks, answers = itertools.count(step=settings.IDEMPOTENCY_LOCK_SECONDS), []
    monkeypatch.setattr("gaas.outbox.api.time", SimpleNamespace(monotonic=lambda: float(next(looks))))
    client, other = api(alice), api(alice)
    blocks, is_late, go_on = itertools.count(1), threading.Event(), threading.Event()

    def at_read():
        block = next(blocks)
        if block == 2:
            IdempotencyKey.objects.update(locked_until=clock.now() - timedelta(seconds=1))
        if block == 4:
            is_late.set()
            go_on.wait(60)

    SlowStorage.at_read = at_read

    def run():
        try:
            answers.append(complete(client, sent))
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert is_late.wait(60)
        refused(complete(other, sent), 409, "idempotency_in_progress")
    finally:
        go_on.set()
        thread.join()
    assert [answer.status_code for answer in answers] == [200]
    assert complete(other, sent).content == answers[0].content


def test_one_that_died_while_reading_can_be_sent_again(alice, api, sent):
    def die():
        raise KeyboardInterrupt  # as a process ends: nothing is put right

    SlowStorage.at_read = die
    with pytest.raises(KeyboardInterrupt):
        complete(api(alice), sent)
    SlowStorage.reset()
    refused(complete(api(alice), sent), 409, "idempotency_in_progress")
    IdempotencyKey.objects.update(locked_until=clock.now())
    assert complete(api(alice), sent).json()["status"] == "WHOLE"


def test_a_storage_that_is_away_leaves_the_key_free(alice, api, sent):
    def away():
        raise OSError("away")

    SlowStorage.at_read = away
    refused(complete(api(alice), sent), 503, "storage_away")
    SlowStorage.reset()
    assert complete(api(alice), sent).status_code == 200


def test_another_digest_throws_the_bytes_away_and_says_so_again(alice, api, sent):
    first = complete(api(alice), sent, sha256="0" * 64)
    assert SHA256 in refused(first, 422, "wrong_hash")["detail"]
    assert complete(api(alice), sent, sha256="0" * 64).content == first.content
    assert not Upload.objects.here().exists()


def test_what_is_not_all_here_is_told_as_without_a_key(alice, api):
    id_ = begin(api(alice), size=len(DATA)).json()["id"]
    put(api(alice), id_, DATA[:-1])
    refused(complete(api(alice), id_), 409, "file_incomplete")


def test_nothing_is_read_for_a_body_that_is_refused(alice, api, sent, storage):
    refused(complete(api(alice), sent, sha256="no digest"), 400, "invalid", "sha256")
    refused(complete(api(alice), sent, sha265=SHA256), 400, attr="sha265")
    assert storage.reads == []
    assert complete(api(alice), sent, sha256=SHA256).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}], ids=["without a key", "with one"])
def test_one_that_is_deleted_while_it_is_read_is_no_fault(alice, api, monkeypatch, headers):
    monkeypatch.setattr(files, "PIECE_BYTES", 100_000)
    path = f"{UPLOADS}{begin(api(alice), size=len(DATA)).json()['id']}/"
    put(api(alice), path.split("/")[-2], DATA)

    def delete():
        SlowStorage.reset()
        services.delete_upload(Upload.objects.get(), by=alice, now=clock.now())

    SlowStorage.at_read = delete
    refused(api(alice).post(f"{path}complete/", {}, format="json", headers=headers), 503, "storage_away")
    refused(api(alice).post(f"{path}complete/", {}, format="json", headers=headers), 404)
