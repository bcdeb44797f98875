from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db

URL = "/api/v1/users/me/"


class TestMe:
    def test_it_shows_the_caller(self, api, alice):
        body = api(alice).get(URL).json()
        assert body == {
            "id": str(alice.pk),
            "email": "alice@example.test",
            "name": "Alice",
            "is_staff": False,
            "email_verified_at": None,
            "personal_account": str(alice.personal_account.pk),
            "created_at": alice.created_at.isoformat().replace("+00:00", "Z"),
        }

    def test_it_changes_the_name(self, api, alice):
        assert api(alice).patch(URL, {"name": "Alice L."}, format="json").json()["name"] == "Alice L."
        alice.refresh_from_db()
        assert alice.name == "Alice L."

    def test_it_wants_a_caller(self, api):
        answer = api().get(URL)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
        assert api().patch(URL, {"name": "x"}, format="json").status_code == 401

    @pytest.mark.parametrize(
        "field", ["email", "is_staff", "is_superuser", "password", "id", "groups", "personal_account"]
    )
    def test_it_changes_nothing_else(self, api, alice, field):
        answer = api(alice).patch(URL, {"name": "x", field: "true"}, format="json")
        assert answer.status_code == 400
        errors = answer.json()["errors"]
        assert [(error["code"], error["attr"]) for error in errors] == [("unknown_field", field)]
        alice.refresh_from_db()
        assert alice.name == "Alice"

    @pytest.mark.parametrize("name", [None, 5, True, [], {}, "x" * 151, "a\u0000b", "a\u202eb"])
    def test_it_refuses_bad_names(self, api, alice, name):
        answer = api(alice).patch(URL, {"name": name}, format="json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == "name"

    def test_it_costs_two_queries(self, api, alice, django_assert_num_queries):
        client = api(alice)
        with django_assert_num_queries(2):
            client.get(URL)
