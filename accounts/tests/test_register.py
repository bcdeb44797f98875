from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.contrib.auth import hashers

from accounts.models import Invitation, User
from accounts.services import balances_of
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/register/"


def body(**changes):
    return {"email": "new@example.test", "password": PASSWORD, "name": "New", **changes}


class TestRegister:
    def test_it_makes_a_user_with_ten_hours_and_a_letter(self, api, django_capture_on_commit_callbacks):
        answer = api().post(URL, body(email="New@Example.Test"), format="json")
        assert answer.status_code == 201
        assert answer.json()["email"] == "New@Example.Test"
        user = User.objects.get(email="new@example.test")
        assert (user.name, user.is_staff, user.is_superuser) == ("New", False, False)
        assert balances_of(user.personal_account).hours_available == 36_000_000
        assert Mail.objects.get(key=f"welcome:{user.pk}").to == "new@example.test"
        assert api().post("/api/v1/auth/token/", {"email": "new@example.test", "password": PASSWORD}).status_code == 200

    @pytest.mark.parametrize("taken", ["alice@example.test", "ALICE@example.test"])
    def test_it_answers_the_same_for_a_taken_address(self, api, alice, taken):
        free = api().post(URL, body(), format="json")
        again = api().post(URL, body(email=taken, name="Mallory", password="another long passphrase"), format="json")
        assert again.status_code == free.status_code == 201
        assert again.json()["detail"] == free.json()["detail"]
        assert set(again.headers) == set(free.headers)
        alice.refresh_from_db()
        assert alice.name == "Alice"
        assert alice.check_password(PASSWORD)
        letter = Mail.objects.get(to="alice@example.test", key__startswith="registered-again:")
        assert "Mallory" not in letter.body

    def test_it_hashes_a_password_for_a_taken_address_too(self, api, alice, monkeypatch):
        made = []
        encode = hashers.PBKDF2PasswordHasher.encode

        def counted(self, password, *args):
            made.append(password)
            return encode(self, password, *args)

        monkeypatch.setattr(hashers.PBKDF2PasswordHasher, "encode", counted)
        api().post(URL, body(email="alice@example.test"), format="json")
        api().post(URL, body(), format="json")
        assert made == [PASSWORD, PASSWORD]

    def test_a_taken_address_gets_one_letter_a_day(self, api, alice):
        for _ in range(3):
            api().post(URL, body(email="alice@example.test"), format="json")
        assert Mail.objects.filter(to="alice@example.test").count() == 1

    @pytest.mark.parametrize(
        ("changes", "attr", "code"),
        [
            ({"email": "no address"}, "email", "invalid"),
            ({"email": "a\u0000b@example.test"}, "email", "control_character"),
            ({"email": None}, "email", "null"),
            ({"email": ["a@example.test"]}, "email", "invalid"),
            ({"email": "a" * 300 + "@example.test"}, "email", "max_length"),
            ({"password": "short"}, "password", "weak_password"),
            ({"password": "password123"}, "password", "weak_password"),
            ({"password": 1234567890123}, "password", "invalid"),
            ({"password": "x" * 5000}, "password", "max_length"),
            ({"name": "a\u0000b"}, "name", "control_character"),
            ({"name": "x" * 151}, "name", "max_length"),
            ({"is_staff": True}, "is_staff", "unknown_field"),
            ({"is_superuser": True}, "is_superuser", "unknown_field"),
        ],
    )
    def test_it_names_what_is_wrong_and_stores_nothing(self, api, changes, attr, code):
        answer = api().post(URL, body(**changes), format="json")
        assert answer.status_code == 400
        errors = {error["attr"]: error["code"] for error in answer.json()["errors"]}
        assert errors[attr] == code
        assert not User.objects.exists()

    def test_it_refuses_when_registration_is_closed(self, api, settings):
        settings.REGISTRATION = "closed"
        answer = api().post(URL, body(), format="json")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["code"] == "registration_closed"
        assert not User.objects.exists()

    @pytest.mark.parametrize(
        ("email", "status"),
        [
            ("new@Example.TEST", 201),
            ("new@sub.example.test", 403),
            ("new@notexample.test", 403),
            ("new@example.test.evil", 403),
            ("example.test@evil.test", 403),
            ("new@exаmple.test", 403),  # with a Cyrillic а
        ],
    )
    def test_it_takes_addresses_of_the_domains_alone_where_they_decide(self, api, settings, email, status):
        settings.REGISTRATION, settings.REGISTRATION_DOMAINS = "domains", ["example.test"]
        answer = api().post(URL, body(email=email), format="json")
        assert answer.status_code in {status, 400 if status == 403 else status}
        assert User.objects.count() == (status == 201)

    def invite(self, lab, by, email="new@example.test", **fields):
        fields = {"expires_at": clock.now() + timedelta(days=1), **fields}
        token_hash = hashlib.sha256(b"a token").hexdigest()
        return Invitation.objects.create(account=lab, email=email, token_hash=token_hash, invited_by=by, **fields)

    @pytest.mark.parametrize("mode", ["invite", "domains"])
    def test_it_takes_who_is_invited_and_confirms_the_address(self, api, settings, lab, alice, mode):
        settings.REGISTRATION = mode
        assert api().post(URL, body(), format="json").status_code == 403
        self.invite(lab, alice)
        assert api().post(URL, body(invitation="a token"), format="json").status_code == 201
        assert User.objects.get(email="new@example.test").email_verified_at is not None
        assert "key=" not in Mail.objects.get(to="new@example.test").body

    def test_an_invitation_is_good_for_its_address_and_time(self, api, settings, lab, alice):
        settings.REGISTRATION = "invite"
        invitation = self.invite(lab, alice)
        for changes in ({"email": "other@example.test"}, {"invitation": "another"}, {"invitation": ""}):
            answer = api().post(URL, body(**{"invitation": "a token", **changes}), format="json")
            assert answer.status_code == 403
        Invitation.objects.filter(pk=invitation.pk).update(expires_at=clock.now())
        assert api().post(URL, body(invitation="a token"), format="json").status_code == 403
        settings.REGISTRATION = "closed"
        Invitation.objects.filter(pk=invitation.pk).update(expires_at=clock.now() + timedelta(days=1))
        assert api().post(URL, body(invitation="a token"), format="json").status_code == 403

    def test_it_is_throttled(self, api):
        # Bad bodies, so that no password is hashed: the scope counts them all the same.
        client = api()
        answers = [client.post(URL, {}, format="json").status_code for _ in range(11)]
        assert answers == [400] * 10 + [429]
