"""Many at one file or one quota at once."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from functools import partial
from uuid import UUID

import pytest
from django.db import connection, transaction

from accounts.ledger.tests.conftest import race
from accounts.models import StorageUse
from accounts.services import StorageFull, storage_of
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gpus.models import Host
from tasks import services
from tasks.choices import FileStatus
from tasks.draft import InputWanted
from tasks.models import FilePiece, StoredFile, Task, Upload
from tasks.services import files
from tasks.services.listed import Named
from tasks.services.uploads import TooManyFiles
from tasks.tests.rig import HOUR, Rig, a_draft, an_approved_task, running_on

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("postgresql")]

MIB = 1024 * 1024
DATA = b"0123456789" * 10_000


def begin(alice, size=100_000):
    return services.create_upload(name="a", size=size, by=alice, now=clock.now())


def whole(alice):
    upload = begin(alice)
    services.send_upload(upload, offset=0, stream=io.BytesIO(DATA), length=len(DATA), by=alice)
    services.complete_upload(upload, sha256="", by=alice, now=clock.now())
    return upload


def kinds(outcomes):
    return Counter(type(outcome).__name__ for outcome in outcomes)


def test_sixteen_uploads_at_the_limit_never_go_over(alice, settings):
    settings.STORAGE_QUOTA_MIB = 10
    outcomes = race(*[lambda: begin(alice, 2 * MIB)] * 16)
    assert kinds(outcomes) == {"Upload": 5, StorageFull.__name__: 11}
    assert storage_of(alice.personal_account).used == 10 * MIB
    assert StoredFile.objects.count() == 5


def test_sixteen_uploads_at_the_most_of_them_never_go_over(alice, settings):
    settings.MAX_UPLOADS = 5
    outcomes = race(*[lambda: begin(alice, 10)] * 16)
    assert kinds(outcomes) == {"Upload": 5, TooManyFiles.__name__: 11}
    assert storage_of(alice.personal_account).used == 50


def test_a_result_waits_for_neither_its_task_nor_its_account(alice, dana, olga):
    """Whoever ends a task locks it before its attempts; a file that took both at once would stand in its way."""
    an_approved_task(alice, dana)
    rig = Rig(olga.personal_account)
    offer = running_on(rig)
    named = Named("a", len(DATA), hashlib.sha256(DATA).hexdigest())
    put = partial(
        services.put_artifact,
        attempt_id=UUID(offer["id"]),
        host=Host.objects.get(pk=rig.host_id),
        epoch=offer["epoch"],
        kind="output",
        named=named,
        offset=0,
        length=len(DATA),
        now=clock.now(),
    )

    def at_once():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        return put(stream=io.BytesIO(DATA))

    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get()
        assert race(at_once) == [(len(DATA), True)]


def test_sixteen_deletes_give_the_room_back_once(alice, settings):
    kept, upload = begin(alice, MIB), begin(alice, MIB)
    race(*[lambda: services.delete_upload(Upload.objects.get(pk=upload.pk), by=alice, now=clock.now())] * 16)
    assert storage_of(alice.personal_account).used == kept.file.size
    assert StorageUse.objects.count() == 1


def test_sixteen_writers_at_one_offset_leave_one_file(alice):
    upload = begin(alice)

    def send():
        own = Upload.objects.select_related("file", "account").get(pk=upload.pk)
        return services.send_upload(own, offset=0, stream=io.BytesIO(DATA), length=len(DATA), by=alice)

    outcomes = race(*[send] * 16)
    assert all(outcome == len(DATA) or isinstance(outcome, files.FileGap) for outcome in outcomes), outcomes
    assert FilePiece.objects.count() == 1
    services.complete_upload(
        Upload.objects.get(pk=upload.pk), sha256=hashlib.sha256(DATA).hexdigest(), by=alice, now=clock.now()
    )


def test_sixteen_completes_all_find_it_whole(alice):
    upload = begin(alice)
    services.send_upload(upload, offset=0, stream=io.BytesIO(DATA), length=len(DATA), by=alice)

    def complete():
        own = Upload.objects.select_related("file", "account").get(pk=upload.pk)
        services.complete_upload(own, sha256="", by=alice, now=clock.now())
        return own.file.sha256

    assert set(race(*[complete] * 16)) == {hashlib.sha256(DATA).hexdigest()}


@pytest.mark.parametrize("number", range(10))
def test_a_file_is_either_deleted_or_given_to_a_task(alice, number):
    upload = whole(alice)
    draft = a_draft(limit_ms=HOUR, inputs=(InputWanted(upload=upload.pk),))
    outcomes = race(
        lambda: services.submit(draft, by=alice, now=clock.now()),
        lambda: services.delete_upload(Upload.objects.get(pk=upload.pk), by=alice, now=clock.now()),
    )
    is_gone = StoredFile.objects.get(pk=upload.file_id).status == FileStatus.REMOVED
    assert Task.objects.exists() != is_gone
    assert sum(isinstance(outcome, DomainError) for outcome in outcomes) == 1, outcomes
