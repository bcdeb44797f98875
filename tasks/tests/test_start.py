"""POST attempts/{id}/start: the server's leave to run, which begins the charge."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from gaas.lib import clock
from tasks import services
from tasks.models import Attempt, Task
from tasks.tests.rig import Rig, an_approved_task, offered_to, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def offer(rig, alice, dana):
    an_approved_task(alice, dana)
    return offered_to(rig)


def start(rig, offer, **changes):
    body = {"epoch": offer["epoch"], "session": str(rig.session), "seq": rig.seq, **changes}
    return rig.http.post(f"/api/agent/v1/attempts/{offer['id']}/start", body, format="json")


class TestStart:
    def test_task_and_attempt_run_from_now_on(self, rig, offer):
        rig.sync()
        before = clock.now()

        assert rig.start(offer) == {"limit_ms": 7_200_000}

        attempt, task = Attempt.objects.get(), Task.objects.get()
        assert (attempt.status, task.status) == ("RUNNING", "PROCESSING")
        assert attempt.started_at == task.started_at >= before
        assert (attempt.started_session, attempt.started_seq) == (rig.session, rig.seq)
        assert task.events.order_by("-id").first().by_label == "host rig"

    def test_an_offer_is_taken_by_it_too(self, rig, offer):
        assert Attempt.objects.get().status == "OFFERED"
        rig.start(offer)
        assert Attempt.objects.get().prepared_from is not None

    def test_the_same_question_again_is_no_second_start(self, rig, offer):
        assert rig.start(offer) == {"limit_ms": 7_200_000}
        Attempt.objects.update(started_at=clock.now() - timedelta(minutes=30))
        started_at = Attempt.objects.get().started_at

        # Nothing has run meanwhile, and the limit counts from the program's start.
        assert rig.start(offer) == {"limit_ms": 7_200_000}
        assert Attempt.objects.get().started_at == started_at
        assert Task.objects.get().events.filter(to_status="PROCESSING").count() == 1

    def test_another_life_of_the_agent_has_lost_it(self, rig, offer):
        rig.start(offer)
        refused(start(rig, offer, session=str(uuid4())), 409, "lease_lost")

    def test_a_cancelled_task_does_not_start(self, rig, offer, alice):
        services.cancel(Task.objects.get(), by=alice, now=clock.now())
        refused(start(rig, offer), 409, "stop_requested")
        assert Attempt.objects.get().started_at is None


class TestFence:
    def test_a_stale_epoch_has_lost_it(self, rig, offer):
        refused(start(rig, offer, epoch=offer["epoch"] + 1), 409, "lease_lost")

    def test_a_foreign_host_has_lost_it(self, rig, offer, olga):
        refused(start(Rig(olga.personal_account, name="other"), offer), 409, "lease_lost")

    def test_an_unknown_attempt_is_lost(self, rig, offer):
        refused(start(rig, {**offer, "id": str(uuid4())}), 409, "lease_lost")

    def test_an_ended_attempt_is_lost(self, rig, offer):
        rig.finish(offer, "REFUSED", exit_code=None)
        refused(start(rig, offer), 409, "lease_lost")

    @pytest.mark.parametrize("name", ["alice", "dana"])
    def test_people_are_no_hosts(self, request, offer, api, name):
        client = api(request.getfixturevalue(name))
        refused(client.post(f"/api/agent/v1/attempts/{offer['id']}/start", {}, format="json"), 401)

    def test_a_revoked_host_is_nobody(self, rig, offer, olga):
        rig.host.revoke(by=olga, now=clock.now())
        refused(start(rig, offer), 401, "host_revoked")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("epoch", 0), ("epoch", "1"), ("epoch", True), ("epoch", 2**40), ("session", "x"), ("seq", -1), ("seq", 1.5)],
    )
    def test_it_names_bad_input(self, rig, offer, field, value):
        refused(start(rig, offer, **{field: value}), 400, attr=field)
