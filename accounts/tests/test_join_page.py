from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.choices import Role
from accounts.models import Invitation, Membership, User
from accounts.services.register import verification_key
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def link(people, form):
    """The path of a letter's link to Charlie."""
    services.invite(account=form, email="charlie@example.test", role=Role.MEMBER, by=people["owner"], now=clock.now())
    found = re.search(r"https?://[^/]+(/accounts/join/\?token=\S+)", Mail.objects.get().body)
    return found[1]


@pytest.fixture
def token(link):
    return link.partition("token=")[2]


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def joined(user, account):
    return Membership.objects.filter(user=user, account=account).exists()


class TestJoinPage:
    def test_following_the_link_changes_nothing(self, client, charlie, verify, link, form):
        client.force_login(verify(charlie))
        shown = text(client.get(link))
        assert "Join Form" in shown
        assert "owner invites charlie@example.test" in shown
        assert not joined(charlie, form)

    def test_the_button_joins(self, client, charlie, verify, token, form):
        client.force_login(verify(charlie))
        answer = client.post("/accounts/join/", {"token": token})
        assert answer["Location"] == f"/accounts/{form.pk}/"
        assert joined(charlie, form)
        assert "You belong to Form now, as member" in text(client.get(answer["Location"]))
        assert "not valid, used or too old" in text(client.post("/accounts/join/", {"token": token}), 400)

    def test_a_stranger_is_led_by_log_in_and_back(self, client, charlie, link, token):
        shown = text(client.get(link))
        assert "/accounts/login/?next=%2Faccounts%2Fjoin%2F%3Ftoken%3D" in shown
        answer = client.post("/accounts/join/", {"token": token})
        assert client.get(answer["Location"]).status_code == 200

    def test_a_newcomer_signs_up_by_it_where_only_the_invited_may(self, client, link, token, form, settings):
        settings.REGISTRATION = "invite"
        found = re.search(r'href="(/accounts/signup/[^"]+)"', text(client.get(link)))
        sign_up = found[1].replace("&amp;", "&")
        filled = client.get(sign_up).context["form"]
        assert (filled["invitation"].value(), filled["email"].value()) == (token, "charlie@example.test")
        sent = {"email": "charlie@example.test", "password": PASSWORD, "invitation": token}
        signed_up = text(client.post("/accounts/signup/", sent))
        # From here on without the letter: the page leads to log-in, that to the invitation, and its button in.
        log_in = unescape(re.search(r'href="(/accounts/login/\?[^"]+)"', signed_up)[1])
        to = parse_qs(urlsplit(log_in).query)["next"][0]
        answer = client.post(log_in, {"username": "charlie@example.test", "password": PASSWORD, "next": to})
        assert answer["Location"] == to
        assert "<button>Join</button>" in text(client.get(to))
        assert client.post("/accounts/join/", {"token": token}).status_code == 302
        assert joined(User.objects.get(email="charlie@example.test"), form)

    def test_confirming_an_address_leads_back_to_the_invitation(self, client, charlie, link, token, form):
        client.force_login(charlie)
        client.get(link)
        confirmed = client.post("/accounts/verify-email/", {"key": verification_key(charlie)})
        back = unescape(re.search(r'href="(/accounts/join/\?[^"]+)"', text(confirmed))[1])
        assert client.post(back.partition("?")[0], {"token": token})["Location"] == f"/accounts/{form.pk}/"
        assert joined(charlie, form)

    def test_an_answer_to_a_taken_address_is_the_same(self, client, charlie, link, token):
        sent = {"email": "charlie@example.test", "password": "another horse battery staple", "invitation": token}
        taken = text(client.post("/accounts/signup/", sent))
        User.objects.filter(pk=charlie.pk).update(email="other@example.test")
        free = text(client.post("/accounts/signup/", sent))
        assert re.sub(r'value="[^"]+"', "", taken) == re.sub(r'value="[^"]+"', "", free)

    def test_another_s_letter_is_for_another(self, client, bob, verify, link, token, form):
        client.force_login(verify(bob))
        assert "You are logged in as bob@example.test" in text(client.get(link))
        assert "another address" in text(client.post("/accounts/join/", {"token": token}), 403)
        assert not joined(bob, form)

    def test_an_unconfirmed_address_is_confirmed_first(self, client, charlie, link, token, form):
        client.force_login(charlie)
        assert "/accounts/verify-email/letter/" in text(client.get(link))
        text(client.post("/accounts/join/", {"token": token}), 403)
        assert not joined(charlie, form)

    @pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=%ff", f"?token={'x' * 3000}"])
    def test_a_wrong_link_says_what_to_do(self, client, query):
        assert "Ask who invited you" in text(client.get(f"/accounts/join/{query}"), 400)

    def test_a_late_one_too(self, client, charlie, verify, link, token):
        Invitation.objects.update(expires_at=timezone.now())
        client.force_login(verify(charlie))
        text(client.get(link), 400)
        text(client.post("/accounts/join/", {"token": token}), 400)

    def test_it_wants_its_own_token(self, charlie, token):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(charlie)
        assert strict.post("/accounts/join/", {"token": token}).status_code == 403
