"""What staff see of people over the API, and do to them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission

from accounts.choices import Scope
from accounts.models import User
from accounts.services.keys import create_key
from accounts.services.tokens import open_log_in
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.tests.cast import PASSWORD, make_user

pytestmark = pytest.mark.django_db

URL = "/api/v1/users/"
WHY = {"reason": "Left the house"}


@pytest.fixture
def sue(db):
    """Support, who sees to people and is no superuser."""
    user = make_user("Sue", is_staff=True)
    user.groups.add(Group.objects.get(name="Support"))
    return user


def of(user, verb=""):
    return f"{URL}{user.pk}/{verb}"


def post(client, user, verb, body=WHY):
    return client.post(of(user, f"{verb}/"), body, format="json")


class TestList:
    def test_it_shows_everybody_to_who_may_view_users(self, api, sue, alice, bob):
        body = api(sue).get(URL).json()
        assert [row["email"] for row in body["results"]] == [bob.email, alice.email, sue.email]
        assert body["results"][-1]["groups"] == ["Support"]
        assert {"is_active", "is_staff", "is_superuser", "has_second_factor", "last_login"} <= set(body["results"][0])
        assert "password" not in str(body)

    def test_it_shows_others_themselves(self, api, alice, bob):
        assert [row["email"] for row in api(alice).get(URL).json()["results"]] == [alice.email]
        assert api(alice).get(of(alice)).status_code == 200
        assert api(alice).get(of(bob)).status_code == 404

    def test_being_staff_alone_shows_nothing_more(self, api, alice, bob):
        User.objects.filter(pk=alice.pk).update(is_staff=True)
        assert len(api(alice).get(URL).json()["results"]) == 1

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("email=ALICE@example.test", ["alice"]),
            ("email=alice", []),
            ("is_staff=true", ["sue"]),
            ("is_active=false", ["bob"]),
            ("verified=true", ["bob"]),
            ("verified=false&is_staff=false", ["alice"]),
            ("created_after=2999-01-01T00:00:00Z", []),
            ("ordering=id&page_size=1", ["sue"]),
        ],
    )
    def test_it_is_narrowed(self, api, sue, alice, bob, query, found):
        User.objects.filter(pk=bob.pk).update(is_active=False, email_verified_at=clock.now())
        rows = api(sue).get(f"{URL}?{query}").json()["results"]
        assert [row["email"].partition("@")[0] for row in rows] == found

    @pytest.mark.parametrize("query", ["password=x", "owner__password__startswith=p", "is_staff=perhaps", "cursor=x"])
    def test_it_refuses_what_is_no_filter(self, api, sue, query):
        answer = api(sue).get(f"{URL}?{query}")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == query.partition("=")[0]

    def test_it_costs_the_same_for_many(self, api, sue, django_assert_num_queries):
        for number in range(9):
            make_user(f"User{number}")
        client = api(sue)
        with django_assert_num_queries(5):  # who calls, two for permissions, users, groups
            assert len(client.get(URL).json()["results"]) == 10


class TestChange:
    def test_it_corrects_a_name(self, api, sue, alice):
        assert api(sue).patch(of(alice), {"name": "Alice L."}, format="json").json()["name"] == "Alice L."
        event = AuditEvent.objects.get(action="user.rename")
        assert (event.actor, event.before, event.after) == (sue, {"name": "Alice"}, {"name": "Alice L."})

    @pytest.mark.parametrize("field", ["email", "is_staff", "is_superuser", "is_active", "groups", "password", "id"])
    def test_it_changes_nothing_else(self, api, sue, alice, field):
        answer = api(sue).patch(of(alice), {field: "true"}, format="json")
        assert answer.status_code == 400
        assert [(error["code"], error["attr"]) for error in answer.json()["errors"]] == [("unknown_field", field)]

    def test_viewing_is_not_changing(self, api, alice, charlie):
        charlie.user_permissions.add(Permission.objects.get(codename="view_user"))
        assert api(charlie).get(of(alice)).status_code == 200
        assert api(charlie).patch(of(alice), {"name": "x"}, format="json").status_code == 403
        assert post(api(charlie), alice, "deactivate").status_code == 403


class TestDeactivate:
    def test_it_ends_every_way_in(self, api, sue, alice):
        pair = open_log_in(user=alice)
        _, key = create_key(user=alice, name="x", scopes=[Scope.ACCOUNTS_READ], now=clock.now())
        mine = api(alice)
        assert mine.get("/api/v1/users/me/").status_code == 200
        answer = post(api(sue), alice, "deactivate")
        assert (answer.status_code, answer.json()["is_active"]) == (200, False)
        assert mine.get("/api/v1/users/me/").status_code == 401
        assert api().get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Api-Key {key}").status_code == 401
        refreshed = api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json")
        assert refreshed.status_code == 401
        event = AuditEvent.objects.get(action="user.switch_off")
        assert (event.actor, event.reason, event.after) == (sue, "Left the house", {"is_active": False})

    def test_there_is_a_way_back(self, api, sue, alice):
        old = open_log_in(user=alice)
        post(api(sue), alice, "deactivate")
        assert post(api(sue), alice, "reactivate").json()["is_active"] is True
        again = api().post("/api/v1/auth/token/", {"email": alice.email, "password": PASSWORD}, format="json")
        assert again.status_code == 200
        # What was logged in before stays out.
        stale = api().post("/api/v1/auth/token/refresh/", {"refresh": old.refresh}, format="json")
        assert stale.status_code == 401
        assert AuditEvent.objects.get(action="user.switch_on").reason == "Left the house"

    def test_it_wants_a_reason(self, api, sue, alice):
        for body in ({}, {"reason": ""}, {"reason": "  "}):
            answer = post(api(sue), alice, "deactivate", body)
            assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "reason")
        alice.refresh_from_db()
        assert alice.is_active

    def test_twice_is_a_conflict(self, api, sue, alice):
        assert post(api(sue), alice, "reactivate").json()["errors"][0]["code"] == "wrong_state"
        post(api(sue), alice, "deactivate")
        assert post(api(sue), alice, "deactivate").status_code == 409

    def test_nobody_does_it_to_themselves(self, api, sue, root):
        for user in (sue, root):
            assert post(api(user), user, "deactivate").status_code == 403
        assert User.objects.filter(is_active=False).count() == 0

    @pytest.mark.parametrize("of_whom", ["dana", "root"])
    def test_staff_are_a_superusers(self, api, sue, root, request, of_whom):
        whom = request.getfixturevalue(of_whom)
        assert post(api(sue), whom, "deactivate").status_code == 403
        assert api(sue).patch(of(whom), {"name": "x"}, format="json").status_code == 403
        User.objects.filter(pk=whom.pk).update(is_active=False)
        assert post(api(sue), whom, "reactivate").status_code == 403
        whom.refresh_from_db()
        assert not whom.is_active

    def test_a_superuser_may(self, api, root, dana):
        assert post(api(root), dana, "deactivate").status_code == 200
        assert post(api(root), dana, "reactivate").status_code == 200

    def test_a_key_bound_to_an_account_carries_no_permission(self, api, sue, alice):
        _, key = create_key(
            user=sue, name="x", scopes=[Scope.ACCOUNTS_WRITE], account=sue.personal_account, now=clock.now()
        )
        answer = api().post(of(alice, "deactivate/"), WHY, format="json", HTTP_AUTHORIZATION=f"Api-Key {key}")
        assert answer.status_code == 404
