"""A log that arrived otherwise than it was written is sent again, and not for ever."""

from __future__ import annotations

import hashlib

import pytest

from tasks.models import Attempt
from tasks.tests.rig import Rig, an_approved_task, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

WRITTEN = b"what the program wrote\n"
SHA256 = hashlib.sha256(WRITTEN).hexdigest()


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def offer(rig, alice, dana):
    an_approved_task(alice, dana)
    return running_on(rig)


def _refused(rig, offer) -> None:
    body = rig.finish(offer, status=409, log_size=len(WRITTEN), log_sha256=SHA256)
    assert body["errors"][0]["code"] == "log_incomplete"


class TestLogCheck:
    def test_what_arrived_as_it_was_written_is_taken(self, rig, offer):
        rig.log(offer, WRITTEN[:5], 0)
        rig.log(offer, WRITTEN[5:], 5)
        assert rig.finish(offer, log_size=len(WRITTEN), log_sha256=SHA256) == {"task_status": "COMPLETED"}
        assert not Attempt.objects.get().is_log_suspect

    def test_what_did_not_is_dropped_and_sent_again(self, rig, offer):
        rig.log(offer, WRITTEN.upper(), 0)
        _refused(rig, offer)
        assert rig.log(offer, WRITTEN[-1:], len(WRITTEN) - 1, status=416)["offset"] == 0
        rig.log(offer, WRITTEN, 0)
        assert rig.finish(offer, log_size=len(WRITTEN), log_sha256=SHA256) == {"task_status": "COMPLETED"}
        assert not Attempt.objects.get().is_log_suspect

    def test_after_two_times_the_end_is_taken_and_the_log_marked(self, rig, offer, api, alice):
        for _ in range(2):
            rig.log(offer, WRITTEN.upper(), 0)
            _refused(rig, offer)
        rig.log(offer, WRITTEN.upper(), 0)
        assert rig.finish(offer, log_size=len(WRITTEN), log_sha256=SHA256) == {"task_status": "COMPLETED"}
        attempt = Attempt.objects.get()
        assert (attempt.is_log_suspect, attempt.log_size) == (True, len(WRITTEN))
        (shown,) = api(alice).get(f"/api/v1/tasks/{attempt.task_id}/attempts/").json()["results"]
        assert shown["is_log_suspect"] is True

    def test_a_log_of_which_a_part_is_lost_is_not_compared(self, rig, offer):
        rig.log(offer, WRITTEN[:5], 0)
        rig.finish(offer, log_size=len(WRITTEN), log_sha256=SHA256, log_lost_from=5)
        assert not Attempt.objects.get().is_log_suspect

    def test_nobody_elses_log_is_dropped(self, rig, offer, olga):
        rig.log(offer, WRITTEN, 0)
        thief = Rig(olga.personal_account, name="thief")
        thief.finish(offer, status=409, log_size=len(WRITTEN), log_sha256="0" * 64)
        assert Attempt.objects.get().log_size == len(WRITTEN)
