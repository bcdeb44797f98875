from __future__ import annotations

import pytest
from django.db import connection
from rest_framework.test import APIRequestFactory

from accounts.choices import Role
from accounts.models import Membership
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.wake import subscribe
from gpus import services
from gpus.agent.protocol import PROTOCOL
from gpus.api.authentication import HostAuthentication
from gpus.choices import HostStatus
from gpus.models import Host
from gpus.tests.fleet import a_device, a_joined_host, an_active_host, some_facts

pytestmark = pytest.mark.django_db

CLOCK = 1 if connection.vendor == "postgresql" else 0
VERBS = {"drain": "DRAINING", "maintenance": "MAINTENANCE", "revoke": "REVOKED"}
ALL = [*VERBS, "undrain", "rotate-secret", "join-token"]


@pytest.fixture
def host(lab):
    return an_active_host(lab, a_device())


def post(client, host, verb, **body):
    return client.post(f"/api/v1/hosts/{host.pk}/{verb}/", body, format="json")


def authenticate(secret):
    request = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Host {secret}")
    return HostAuthentication().authenticate(request)


class TestCreate:
    def test_it_answers_the_join_token_once(self, api, olga):
        client = api(olga)
        answer = client.post("/api/v1/hosts/", {"name": "rig", "region": "eu"}, format="json")

        assert answer.status_code == 201, answer.data
        assert answer.data["status"] == "JOINING"
        assert answer.data["account"] == str(olga.personal_account.pk)
        services.join(token=answer.data["join_token"], facts=some_facts(), protocol=PROTOCOL, now=clock.now())
        again = client.get(f"/api/v1/hosts/{answer.data['id']}/")
        assert "join_token" not in again.data

    def test_a_manager_adds_one_to_an_organisation(self, api, alice, lab):
        answer = api(alice).post("/api/v1/hosts/", {"name": "rig", "account": str(lab.pk)}, format="json")

        assert answer.status_code == 201

    def test_a_member_cannot(self, api, bob, lab):
        answer = api(bob).post("/api/v1/hosts/", {"name": "rig", "account": str(lab.pk)}, format="json")

        assert answer.status_code == 403
        assert not Host.objects.exists()

    def test_an_account_of_others_is_as_unknown_as_none(self, api, charlie, lab):
        client = api(charlie)
        theirs = client.post("/api/v1/hosts/", {"name": "rig", "account": str(lab.pk)}, format="json")
        none = client.post("/api/v1/hosts/", {"name": "rig", "account": str(charlie.pk)}, format="json")

        assert theirs.status_code == none.status_code == 404
        assert theirs.data["errors"] == none.data["errors"]
        assert theirs.data["errors"][0]["attr"] == "account"

    @pytest.mark.parametrize(
        ("body", "attr"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "a\x00b"}, "name"),
            ({"name": 1}, "name"),
            ({"name": "x", "account": "y"}, "account"),
            ({"name": "x", "region": "r" * 64}, "region"),
            ({"name": "x", "labels": [1]}, "labels"),
            ({"name": "x", "status": "ACTIVE"}, "status"),
            ({"name": "x", "secret_hash": "a"}, "secret_hash"),
            ({"name": "x", "is_local": True}, "is_local"),
        ],
    )
    def test_it_names_the_field_that_is_wrong(self, api, olga, body, attr):
        answer = api(olga).post("/api/v1/hosts/", body, format="json")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"] == attr
        assert not Host.objects.exists()


class TestRead:
    def test_members_see_it_and_outsiders_do_not(self, api, host, bob, charlie, dana):
        for person in (bob, dana):
            assert [row["id"] for row in api(person).get("/api/v1/hosts/").data["results"]] == [str(host.pk)]
        assert api(charlie).get("/api/v1/hosts/").data["results"] == []
        assert api(charlie).get(f"/api/v1/hosts/{host.pk}/").status_code == 404

    def test_it_shows_no_secret(self, api, host, alice):
        text = str(api(alice).get(f"/api/v1/hosts/{host.pk}/").data)

        assert "secret" not in text
        assert "hash" not in text

    def test_it_tells_whether_it_can_be_reached(self, api, host, alice):
        client = api(alice)
        assert client.get(f"/api/v1/hosts/{host.pk}/").data["is_reachable"] is True
        Host.objects.update(lease_expires_at=clock.now())
        assert client.get(f"/api/v1/hosts/{host.pk}/").data["is_reachable"] is False

    def test_a_list_of_any_length_takes_the_same_number(self, api, lab, bob, django_assert_num_queries):
        client = api(bob)
        for _ in range(2):
            a_joined_host(lab)
            with django_assert_num_queries(2 + CLOCK):
                client.get("/api/v1/hosts/")

    def test_it_is_changed_by_its_managers(self, api, host, alice, bob):
        body = {"name": "rig 2", "region": "eu", "labels": {"rack": "1"}}
        answer = api(alice).patch(f"/api/v1/hosts/{host.pk}/", body, format="json")

        assert answer.status_code == 200
        assert {name: answer.data[name] for name in body} == body
        assert AuditEvent.objects.get(action="host.describe").before["name"] == "rig"
        assert api(bob).patch(f"/api/v1/hosts/{host.pk}/", body, format="json").status_code == 403


class TestVerbs:
    @pytest.mark.parametrize("verb", VERBS)
    def test_it_moves_the_host_and_wakes_its_agent(self, api, host, alice, verb):
        answer = post(api(alice), host, verb, reason="new fans")

        assert answer.status_code == 200, answer.data
        assert answer.data["status"] == VERBS[verb]
        assert Host.objects.get().revision == host.revision + 1
        assert AuditEvent.objects.filter(action=f"host.{VERBS[verb].lower()}", reason="new fans").exists()

    @pytest.mark.parametrize("verb", ["drain", "maintenance"])
    def test_undrain_brings_it_back(self, api, host, alice, verb):
        post(api(alice), host, verb)

        assert post(api(alice), host, "undrain").data["status"] == "ACTIVE"

    def test_undrain_does_not_make_a_host_active_that_was_never_heard(self, api, alice, lab):
        host, _ = a_joined_host(lab)

        answer = post(api(alice), host, "undrain")

        assert answer.status_code == 409
        assert Host.objects.get().status == HostStatus.JOINING

    @pytest.mark.parametrize("verb", VERBS)
    def test_twice_is_a_conflict(self, api, host, alice, verb):
        post(api(alice), host, verb)

        answer = post(api(alice), host, verb)

        assert answer.status_code == 409
        assert answer.data["errors"][0]["code"] == "wrong_state"
        assert alice.email in answer.data["errors"][0]["detail"]

    @pytest.mark.parametrize("verb", ALL)
    def test_an_outsider_gets_404_a_member_403_and_nobody_401(self, api, host, charlie, bob, verb):
        before = Host.objects.values().get()

        assert post(api(charlie), host, verb).status_code == 404
        assert post(api(bob), host, verb).status_code == 403
        assert post(api(), host, verb).status_code == 401
        assert Host.objects.values().get() == before

    @pytest.mark.parametrize("verb", ALL)
    def test_an_unknown_field_is_named(self, api, host, alice, verb):
        answer = post(api(alice), host, verb, wish="x")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["code"] == "unknown_field"

    def test_staff_needs_the_permission(self, api, host, charlie, dana):
        charlie.is_staff = True
        charlie.save()

        assert post(api(charlie), host, "drain").status_code == 404
        assert post(api(dana), host, "drain").status_code == 200

    def test_a_viewer_reads_only(self, api, host, lab, charlie):
        Membership.objects.create(account=lab, user=charlie, role=Role.VIEWER)

        assert api(charlie).get(f"/api/v1/hosts/{host.pk}/").status_code == 200
        assert post(api(charlie), host, "drain").status_code == 403


class TestSecret:
    def test_it_is_the_host(self, lab):
        host, secret = a_joined_host(lab)

        user, found = authenticate(secret)
        assert found == host
        assert user.is_authenticated
        assert not user.has_perm("gpus.change_host")

    def test_it_takes_one_query(self, lab, django_assert_num_queries):
        _, secret = a_joined_host(lab)

        with django_assert_num_queries(1):
            authenticate(secret)

    @pytest.mark.parametrize("secret", ["", "x", "gaash_", "é", "x" * 20_000])
    def test_another_is_nobody(self, lab, secret):
        from rest_framework.exceptions import AuthenticationFailed

        a_joined_host(lab)
        with pytest.raises(AuthenticationFailed):
            authenticate(secret)

    def test_it_is_no_users_token(self, api, lab):
        _, secret = a_joined_host(lab)
        client = api()
        for scheme in ("Host", "Bearer"):
            client.credentials(HTTP_AUTHORIZATION=f"{scheme} {secret}")
            assert client.get("/api/v1/gpus/").status_code == 401

    def test_a_rotation_ends_the_one_before(self, api, lab, alice):
        from rest_framework.exceptions import AuthenticationFailed

        host, old = a_joined_host(lab)

        new = post(api(alice), host, "rotate-secret").data["secret"]

        assert authenticate(new)[1] == host
        with pytest.raises(AuthenticationFailed):
            authenticate(old)

    def test_a_revoke_ends_it_at_once_and_for_good(self, api, lab, alice):
        from rest_framework.exceptions import AuthenticationFailed

        host, secret = a_joined_host(lab)
        post(api(alice), host, "revoke")

        with pytest.raises(AuthenticationFailed):
            authenticate(secret)
        for verb in ("rotate-secret", "join-token", "undrain", "drain"):
            assert post(api(alice), host, verb).status_code == 409

    def test_a_new_join_token_voids_the_one_before(self, api, lab, alice):
        host, old = services.register_host(account=lab, name="rig", by=alice, now=clock.now())

        answer = post(api(alice), host, "join-token")

        assert answer.status_code == 200
        with pytest.raises(services.InvalidJoinToken):
            services.join(token=old, facts=some_facts(), protocol=PROTOCOL, now=clock.now())
        services.join(token=answer.data["join_token"], facts=some_facts(), protocol=PROTOCOL, now=clock.now())


class TestWake:
    def test_it_announces_the_new_revision_once_committed(self, host, django_capture_on_commit_callbacks):
        heard = []
        unsubscribe = subscribe(heard.append)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                services.wake_hosts([host.pk, host.pk])
        finally:
            unsubscribe()

        assert Host.objects.get().revision == host.revision + 1
        if connection.vendor == "sqlite":
            assert heard == [f"host:{host.pk}:{host.revision + 1}"]

    def test_a_revoked_host_is_left_alone(self, host, alice):
        host.revoke(by=alice, now=clock.now())
        revision = Host.objects.get().revision

        services.wake_hosts([host.pk])

        assert Host.objects.get().revision == revision


class TestPairsOfStates:
    @pytest.mark.parametrize("old", HostStatus.values)
    @pytest.mark.parametrize("new", HostStatus.values)
    def test_only_the_table_is_walked(self, host, old, new):
        from gaas.lib.errors import IllegalTransition

        Host.objects.update(status=old, secret_hash="")
        host.refresh_from_db()

        if new in Host.TRANSITIONS[old]:
            assert host._move_to(new, by=None, now=clock.now())
        elif new == old:
            assert not host._move_to(new, by=None, now=clock.now())
        else:
            with pytest.raises(IllegalTransition):
                host._move_to(new, by=None, now=clock.now())
        assert Host.objects.get().status == (new if new in Host.TRANSITIONS[old] else old)
