from __future__ import annotations

import pytest
from django.contrib.auth.hashers import make_password

from accounts.models import TokenFamily, User
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/token/"


class TestToken:
    def test_it_gives_an_access_and_a_refresh_token(self, api, alice):
        answer = api().post(URL, {"email": "Alice@Example.test", "password": PASSWORD}, format="json")
        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh"}
        assert answer["Cache-Control"] == "no-store"
        client = api()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
        assert client.get("/api/v1/users/me/").json()["email"] == "alice@example.test"

    def test_it_answers_the_same_for_wrong_unknown_and_inactive(self, api, alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        answers = [
            api().post(URL, {"email": email, "password": password}, format="json")
            for email, password in [
                ("alice@example.test", "wrong"),
                ("nobody@example.test", PASSWORD),
                ("bob@example.test", PASSWORD),
            ]
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer["WWW-Authenticate"] for answer in answers} == {'Bearer realm="api"'}
        assert len({str(answer.json()["errors"]) for answer in answers}) == 1
        assert answers[0].json()["errors"][0]["code"] == "no_active_account"
        assert not TokenFamily.objects.exists()

    def test_an_unknown_address_costs_a_hash(self, api, monkeypatch):
        hashed = []
        set_password = User.set_password
        monkeypatch.setattr(User, "set_password", lambda user, raw: (hashed.append(raw), set_password(user, raw)))
        api().post(URL, {"email": "nobody@example.test", "password": "x"}, format="json")
        assert hashed == ["x"]

    @pytest.mark.parametrize("hasher", ["bcrypt_sha256", "argon2"])
    def test_an_older_hash_is_taken_and_written_anew(self, api, alice, hasher):
        User.objects.filter(pk=alice.pk).update(password=make_password(PASSWORD, hasher=hasher))
        answer = api().post(URL, {"email": "alice@example.test", "password": PASSWORD}, format="json")
        assert answer.status_code == 200
        alice.refresh_from_db()
        assert alice.password.startswith("pbkdf2_sha256$")
        client = api()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
        assert client.get("/api/v1/users/me/").status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"email": "alice@example.test"},
            {"email": "a\u0000b", "password": "x"},
            {"email": "alice@example.test", "password": "x" * 10_000},
            {"email": "a", "password": {"a": 1}},
            {"email": "a", "password": "x", "is_staff": True},
            [],
            "text",
        ],
    )
    def test_it_refuses_bad_bodies(self, api, body):
        assert api().post(URL, body, format="json").status_code == 400

    def test_it_is_throttled_by_account_whatever_the_case(self, api, alice, settings):
        settings.LOG_IN_FAILURES = 100
        client = api()
        # A user without a usable password is refused without hashing, which keeps this test short.
        User.objects.filter(pk=alice.pk).update(password="!")
        emails = ["alice@example.test", "ALICE@example.test"] * 5
        statuses = {client.post(URL, {"email": email, "password": "x"}, format="json").status_code for email in emails}
        assert statuses == {401}
        refused = client.post(URL, {"email": "Alice@example.TEST", "password": PASSWORD}, format="json")
        assert refused.status_code == 429
        assert int(refused["Retry-After"]) > 0
        assert client.post(URL, {"email": "bob@example.test", "password": "x"}, format="json").status_code == 401

    def test_a_header_does_not_pass_by_the_throttle(self, api):
        client = api()
        statuses = [
            client.post(
                URL, {"email": "x", "password": ""}, format="json", HTTP_X_FORWARDED_FOR=f"10.0.0.{n}"
            ).status_code
            for n in range(11)
        ]
        assert statuses == [400] * 10 + [429]
