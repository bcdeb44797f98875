from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from accounts.choices import MAX_DEPTH, Role, Scope
from accounts.models import Account
from accounts.services import balances_of
from accounts.services.keys import create_key
from accounts.services.organisations import MAX_OWNED
from gaas.audit.models import AuditEvent
from gaas.lib import clock

pytestmark = pytest.mark.django_db

URL = "/api/v1/accounts/"


class TestCreate:
    def test_the_creator_owns_it_and_it_starts_with_nothing(self, api, alice):
        answer = api(alice).post(URL, {"name": "Lab"}, format="json")
        assert answer.status_code == 201
        body = answer.json()
        assert (body["kind"], body["role"], body["hours_available"]) == ("ORGANISATION", "OWNER", "0.000000")
        account = Account.objects.get(pk=body["id"])
        assert account.role_of(alice) == Role.OWNER
        assert AuditEvent.objects.get(action="account.create").actor == alice

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": "x" * 151},
            {"name": "a\x00b"},
            {"name": 1},
            {"name": "x", "kind": "PLATFORM"},
            {"name": "x", "parent": None},
            {"name": "x", "path": "/"},
        ],
    )
    def test_bad_bodies_are_refused(self, api, alice, body):
        assert api(alice).post(URL, body, format="json").status_code == 400
        assert Account.objects.filter(kind="ORGANISATION").count() == 0

    def test_sent_twice_with_a_key_it_makes_one(self, api, alice):
        client = api(alice)
        for _ in range(2):
            answer = client.post(URL, {"name": "Lab"}, format="json", headers={"Idempotency-Key": "k"})
            assert answer.status_code == 201
        assert Account.objects.filter(name="Lab").count() == 1

    def test_somebody_who_owns_very_many_makes_no_more(self, api, alice):
        for number in range(MAX_OWNED - 1):
            alice.memberships.create(account=Account.objects.create(name=str(number)), role=Role.OWNER)
        answer = api(alice).post(URL, {"name": "One more"}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "too_many")

    def test_a_key_that_is_bound_to_an_account_makes_none_outside(self, alice, lab):
        _, text = create_key(user=alice, name="x", scopes=[Scope.ACCOUNTS_WRITE], account=lab, now=clock.now())
        client = APIClient(headers={"Authorization": f"Api-Key {text}"})
        assert client.post(f"{URL}{lab.pk}/children/", {"name": "Inside"}, format="json").status_code == 201
        assert client.post(URL, {"name": "Outside"}, format="json").status_code == 403

    def test_it_wants_a_caller(self, api):
        assert api().post(URL, {"name": "x"}, format="json").status_code == 401


class TestChildren:
    def test_a_manager_makes_them(self, api, pat, family):
        client = api(pat)
        answer = client.post(f"{URL}{family.pk}/children/", {"name": "Kim"}, format="json")
        assert answer.status_code == 201
        body = answer.json()
        assert (body["parent"], body["pays_from"], body["role"]) == (str(family.pk), "SELF", "MANAGER")
        assert [row["id"] for row in client.get(f"{URL}{family.pk}/children/").json()["results"]] == [body["id"]]

    def test_one_may_spend_its_parents(self, api, pat, family):
        body = {"name": "Kim", "pays_from": "PARENT"}
        made = api(pat).post(f"{URL}{family.pk}/children/", body, format="json").json()
        assert Account.objects.get(pk=made["id"]).payer() == family

    def test_children_start_with_nothing(self, api, pat, family):
        made = api(pat).post(f"{URL}{family.pk}/children/", {"name": "Kim"}, format="json").json()
        assert balances_of(Account.objects.get(pk=made["id"])).hours_available == 0

    def test_a_ninth_level_is_refused(self, api, pat, family):
        account = family
        for number in range(MAX_DEPTH - 1):
            account = Account.objects.create(name=str(number), parent=account)
        answer = api(pat).post(f"{URL}{account.pk}/children/", {"name": "x"}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "too_deep")

    def test_the_list_is_of_the_next_level_alone(self, api, pat, family, child):
        Account.objects.create(name="Grandchild", parent=child)
        rows = api(pat).get(f"{URL}{family.pk}/children/").json()["results"]
        assert [row["name"] for row in rows] == ["Child"]

    def test_a_child_is_a_person_too(self, api, alice):
        """A person may have children below the personal account."""
        answer = api(alice).post(f"{URL}{alice.personal_account.pk}/children/", {"name": "Kid"}, format="json")
        assert answer.status_code == 201
