"""One mailbox has one account, however its address is spelt."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.choices import Role
from accounts.models import Invitation, User
from gaas.lib.emails import LONGEST, check_email, normal_email
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

# Each would be read by Alice, or looks as if it would.
SPELLINGS = [
    "ALICE@Example.TEST",
    " alice@example.test ",
    "\uff41lice@example.test",  # full width
    "al\u0131ce@example.test",  # a dotless i, which Django's validator takes for one
    "al\u0130ce@example.test",
    "alice@\uff45xample.test",
    "alice@exam\u200bple.test",  # zero width, which the encoding of domains drops
    "alice@exam\u00adple.test",
    "alice@exam\u2060ple.test",
    "ali\u200dce@example.test",
    "\u202ealice@example.test",
    "alice@example\u3002test",
    '"alice"@example.test',
    '"al\\ice"@example.test',
    "alice@example.test\u0000",
    "ali\u0000ce@example.test",
    "\u0430lice@example.test",  # Cyrillic
]


@pytest.fixture
def invite(api, bob, lab, verify):
    lab.memberships.filter(user=bob).update(role=Role.OWNER)
    return lambda email: api(verify(bob)).post(f"/api/v1/accounts/{lab.pk}/members/", {"email": email}, format="json")


def codes(answer):
    return {(error["attr"], answer.status_code) for error in answer.json()["errors"]}


@pytest.mark.parametrize("email", SPELLINGS, ids=ascii)
class TestSpellings:
    def test_none_registers_a_second_account(self, api, alice, email):
        body = {"email": email, "password": "another fine passphrase", "name": "Mallory"}
        answer = api().post("/api/v1/auth/register/", body, format="json")
        page = Client().post("/accounts/signup/", body)
        assert list(User.objects.values_list("email", flat=True)) == ["alice@example.test"]
        assert {mail.to for mail in Mail.objects.all()} <= {"alice@example.test"}
        assert answer.status_code == 201 or codes(answer) == {("email", 400)}
        assert page.status_code in {200, 400}

    def test_a_letter_to_reset_goes_to_the_stored_address(self, api, alice, email):
        answer = api().post("/api/v1/auth/password/reset/", {"email": email}, format="json")
        assert answer.status_code == 200 or codes(answer) == {("email", 400)}
        assert {mail.to for mail in Mail.objects.all()} <= {"alice@example.test"}

    def test_an_invitation_is_to_the_same_address_or_none(self, invite, alice, email):
        answer = invite(email)
        assert answer.status_code in {201, 400, 409}
        assert set(Invitation.objects.values_list("email", flat=True)) <= {"alice@example.test"}

    def test_nobody_changes_theirs_to_it(self, api, alice, bob, email):
        answer = api(bob).patch("/api/v1/users/me/", {"email": email}, format="json")
        assert codes(answer) == {("email", 400)}
        bob.refresh_from_db()
        assert bob.email == "bob@example.test"

    def test_staff_make_no_second_account_of_it(self, root, alice, email):
        client = Client()
        client.force_login(root)
        form = {"email": email, "name": "M", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
        assert client.post("/admin/accounts/user/add/", form).status_code == 200
        assert set(User.objects.values_list("email", flat=True)) == {"alice@example.test", root.email}


class TestDomains:
    @pytest.mark.parametrize("second", ["new@xn--exmple-4nf.test", "NEW@EX\u0410MPLE.test", "new@ex\u0430mple.test"])
    def test_one_beyond_ascii_is_one_however_it_is_written(self, api, second):
        for email in ("new@ex\u0430mple.test", second):
            body = {"email": email, "password": PASSWORD}
            assert api().post("/api/v1/auth/register/", body, format="json").status_code == 201
        assert User.objects.get().email == "new@xn--exmple-4nf.test"
        for email in ("new@ex\u0430mple.test", second):
            body = {"email": email, "password": PASSWORD}
            assert api().post("/api/v1/auth/token/", body, format="json").status_code == 200

    def test_one_that_grows_too_long_is_refused(self, api):
        email = "a@" + ("\u0430" * 20 + ".") * 11 + "test"
        assert len(email) < LONGEST < len(normal_email(email))
        answer = api().post("/api/v1/auth/register/", {"email": email, "password": PASSWORD}, format="json")
        assert codes(answer) == {("email", 400)}


@pytest.mark.parametrize(
    "email", ["a+b@example.test", "o'neil@example.test", "a_b-c.d@sub.example.test", "a@[127.0.0.1]"]
)
def test_plain_ones_are_taken_as_they_are(email):
    check_email(email)
    assert normal_email(email) == email


@pytest.mark.parametrize("email", [*SPELLINGS, "a@stra\u00dfe.test", "a@" + "\u0430" * 300], ids=ascii)
def test_writing_it_normally_twice_changes_nothing(email):
    assert normal_email(normal_email(email)) == normal_email(email)


@pytest.mark.parametrize("email", ["", "x", "a@stra\u00dfe.test", "a@" + "\u0430" * 300], ids=ascii)
def test_what_has_no_one_way_is_refused(email):
    with pytest.raises(ValidationError):
        check_email(email)
