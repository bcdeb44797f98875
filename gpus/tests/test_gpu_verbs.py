from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, IllegalTransition, NotAllowed
from gpus.choices import GPUStatus
from gpus.models import GPU
from gpus.tests.fleet import a_gpu

pytestmark = pytest.mark.django_db

VERBS = {"list": "LISTED", "unlist": "UNLISTED", "drain": "DRAINING", "undrain": "LISTED", "retire": "RETIRED"}


@pytest.fixture
def gpu(olga):
    return a_gpu(olga.personal_account, is_listed=False)


@pytest.fixture
def listed(olga):
    return a_gpu(olga.personal_account)


def post(client, gpu, verb, **body):
    return client.post(f"/api/v1/gpus/{gpu.pk}/{verb}/", body, format="json")


class TestList:
    def test_staff_does_it_the_first_time(self, api, dana, gpu):
        answer = post(api(dana), gpu, "list", reason="looked at it")

        assert answer.status_code == 200, answer.data
        assert (answer.data["status"], answer.data["availability"]) == ("LISTED", "AVAILABLE")
        event = AuditEvent.objects.get(action="gpu.listed")
        assert (event.actor, event.reason) == (dana, "looked at it")
        assert event.account_id == str(gpu.host.account_id)

    def test_the_owner_cannot_do_it_the_first_time(self, api, olga, gpu):
        answer = post(api(olga), gpu, "list")

        assert answer.status_code == 403
        assert "staff" in answer.data["errors"][0]["detail"]
        gpu.refresh_from_db()
        assert gpu.status == GPUStatus.UNLISTED

    def test_the_permission_counts_and_not_the_role_of_staff(self, gpu, bob):
        bob.is_staff = True
        bob.save()
        with pytest.raises(NotAllowed):
            gpu.list(by=bob, now=clock.now())

        bob.user_permissions.add(Permission.objects.get(codename="list_gpu"))
        gpu.list(by=type(bob).objects.get(pk=bob.pk), now=clock.now())

        assert gpu.status == GPUStatus.LISTED

    def test_the_owner_does_it_from_then_on(self, api, olga, dana, gpu):
        gpu.list(by=dana, now=clock.now())
        client = api(olga)
        assert post(client, gpu, "unlist").status_code == 200

        assert post(client, gpu, "list").data["status"] == "LISTED"

    def test_twice_is_a_conflict_that_names_who_did_it(self, api, dana, listed):
        listed.drain(by=dana, now=clock.now())
        post(api(dana), listed, "list")

        answer = post(api(dana), listed, "list")

        assert answer.status_code == 409
        error = answer.data["errors"][0]
        assert (error["code"], error["attr"]) == ("wrong_state", "status")
        assert dana.email in error["detail"]


class TestUndrain:
    def test_it_offers_a_draining_one_again(self, listed, olga):
        listed.drain(by=olga, now=clock.now())
        listed.undrain(by=olga, now=clock.now())

        assert listed.status == GPUStatus.LISTED

    def test_it_is_no_way_round_the_first_listing(self, api, olga, gpu):
        answer = post(api(olga), gpu, "undrain")

        assert answer.status_code == 409
        gpu.refresh_from_db()
        assert gpu.status == GPUStatus.UNLISTED


class TestWho:
    @pytest.mark.parametrize("verb", VERBS)
    def test_an_outsider_gets_404_for_what_is_not_on_show(self, api, charlie, gpu, verb):
        answer = post(api(charlie), gpu, verb)
        unknown = api(charlie).post(f"/api/v1/gpus/{charlie.pk}/{verb}/", {}, format="json")

        assert answer.status_code == 404
        assert answer.data["errors"] == unknown.data["errors"]

    @pytest.mark.parametrize("verb", VERBS)
    def test_who_sees_it_but_does_not_run_it_gets_403(self, api, charlie, listed, verb):
        assert post(api(charlie), listed, verb).status_code == 403
        listed.refresh_from_db()
        assert listed.status == GPUStatus.LISTED

    @pytest.mark.parametrize("verb", VERBS)
    def test_a_member_gets_403_and_a_manager_does_it(self, lab, alice, bob, dana, verb):
        gpu = a_gpu(lab)

        assert not gpu.may_be_run_by(bob)
        assert gpu.may_be_run_by(alice)
        assert gpu.may_be_run_by(dana)

    @pytest.mark.parametrize("verb", VERBS)
    def test_without_a_token_it_is_401(self, api, listed, verb):
        answer = post(api(), listed, verb)

        assert answer.status_code == 401
        assert answer["WWW-Authenticate"]

    def test_a_manager_above_runs_what_is_below(self, child, pat):
        assert a_gpu(child).may_be_run_by(pat)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "attr"),
        [
            ({"why": "x"}, "why"),
            ({"reason": 3}, "reason"),
            ({"reason": "x" * 2001}, "reason"),
            ({"reason": "\x00"}, "reason"),
            ({"reason": None}, "reason"),
            ({"status": "LISTED"}, "status"),
        ],
    )
    def test_it_names_the_field(self, api, dana, listed, body, attr):
        answer = post(api(dana), listed, "drain", **body)

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"] == attr
        listed.refresh_from_db()
        assert listed.status == GPUStatus.LISTED

    @pytest.mark.parametrize("body", [[], "x", 3])
    def test_it_refuses_what_is_no_object(self, api, dana, listed, body):
        answer = api(dana).post(f"/api/v1/gpus/{listed.pk}/drain/", body, format="json")

        assert answer.status_code == 400


class TestPairsOfStates:
    @pytest.mark.parametrize("old", GPUStatus.values)
    @pytest.mark.parametrize("new", GPUStatus.values)
    def test_only_the_table_is_walked(self, gpu, old, new):
        GPU.objects.filter(pk=gpu.pk).update(status=old, first_listed_at=clock.now())
        gpu.refresh_from_db()

        if new in GPU.TRANSITIONS[old]:
            assert gpu._move_to(new, by=None, now=clock.now())
        elif new == old:
            assert not gpu._move_to(new, by=None, now=clock.now())
        else:
            with pytest.raises(IllegalTransition):
                gpu._move_to(new, by=None, now=clock.now())
        gpu.refresh_from_db()
        assert gpu.status == (new if new in GPU.TRANSITIONS[old] else old)

    @pytest.mark.parametrize("verb", VERBS)
    def test_the_platform_takes_an_arrival_as_done(self, gpu, verb):
        GPU.objects.filter(pk=gpu.pk).update(status=VERBS[verb], first_listed_at=clock.now())
        gpu.refresh_from_db()

        if verb == "undrain":
            with pytest.raises(Conflict):
                gpu.undrain(by=None, now=clock.now())
        else:
            getattr(gpu, verb)(by=None, now=clock.now())
        assert gpu.status == VERBS[verb]
