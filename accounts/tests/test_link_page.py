from __future__ import annotations

import re

import pytest

from accounts import services
from accounts.choices import PaysFrom
from accounts.models import Account, Invitation
from accounts.tests.conftest import HOUR
from gaas.lib import clock
from gaas.outbox.models import Mail

pytestmark = pytest.mark.django_db


@pytest.fixture
def kim(charlie, verify, client):
    client.force_login(verify(charlie))
    return charlie


@pytest.fixture
def link(head, school, charlie):
    """The path of a letter's link that offers to pay, too."""
    services.invite_child(account=school, email=charlie.email, pays_from=PaysFrom.PARENT, by=head, now=clock.now())
    return re.search(r"https?://[^/]+(/accounts/join/\?token=\S+)", Mail.objects.latest("pk").body)[1]


@pytest.fixture
def token(link):
    return link.partition("token=")[2]


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


class TestLinkPage:
    def test_it_says_what_it_means_and_changes_nothing(self, client, kim, link):
        shown = text(client.get(link))
        assert "Link an account to School" in shown
        assert "charlie (your own)".lower() in shown.lower()
        assert "offer to pay" in shown
        assert Account.objects.get(pk=kim.personal_account.pk).parent_id is None

    def test_the_button_links_and_the_page_unlinks(self, client, kim, token, school):
        own = kim.personal_account
        answer = client.post("/accounts/join/", {"token": token, "account": str(own.pk), "pays_from": "SELF"})
        assert answer["Location"] == f"/accounts/{own.pk}/"
        own.refresh_from_db()
        assert (own.parent_id, own.pays_from) == (school.pk, "SELF")
        shown = text(client.get(answer["Location"]))
        assert "stands below School now" in shown
        assert "Let it stand alone" in shown
        client.post(answer["Location"], {"do": "unlink", "of": ""})
        own.refresh_from_db()
        assert own.parent_id is None
        assert "Let it stand alone" not in text(client.get(f"/accounts/{own.pk}/"))

    def test_the_offer_is_taken_up(self, client, kim, token):
        own = kim.personal_account
        client.post("/accounts/join/", {"token": token, "account": str(own.pk), "pays_from": "PARENT"})
        assert Account.objects.get(person=kim).pays_from == "PARENT"
        assert "Who pays" in text(client.get(f"/accounts/{own.pk}/"))
        client.post(f"/accounts/{own.pk}/", {"do": "set_pays_from", "of": "", "pays_from": "SELF"})
        assert Account.objects.get(person=kim).pays_from == "SELF"
        assert "Who pays" not in text(client.get(f"/accounts/{own.pk}/"))

    def test_another_s_account_is_no_choice(self, client, kim, token, school, lab):
        for account in (lab, school):
            text(client.post("/accounts/join/", {"token": token, "account": str(account.pk)}), 400)
        assert Invitation.objects.open().exists()

    @pytest.mark.parametrize("sent", [{}, {"account": "x"}, {"account": "\x00"}, {"pays_from": "x"}])
    def test_what_is_no_answer_is_refused(self, client, kim, token, sent):
        body = {"token": token, "account": str(kim.personal_account.pk), **sent}
        text(client.post("/accounts/join/", body if sent else {"token": token}), 400)
        assert Invitation.objects.open().exists()

    def test_a_refusal_is_said_on_the_page(self, client, kim, token, head):
        club = services.create_account(name="Club", by=kim)
        Account.objects.filter(pk=club.pk).update(closed_at=clock.now())
        text(client.post("/accounts/join/", {"token": token, "account": str(club.pk)}), 400)

    def test_another_reader_sees_no_form(self, client, bob, verify, link):
        client.force_login(verify(bob))
        shown = text(client.get(link))
        assert "You are logged in as bob@example.test" in shown
        assert 'name="account"' not in shown


class TestChildrenPage:
    def test_a_letter_is_sent_shown_and_withdrawn(self, client, head, school):
        client.force_login(head)
        url = f"/accounts/{school.pk}/children/"
        sent = client.post(
            url, {"do": "invite_child", "of": "", "email": "new@example.test", "pays_from": "PARENT"}, follow=True
        )
        shown = text(sent)
        assert "A letter is on its way to new@example.test" in shown
        assert "with the offer to pay" in shown
        letter = Invitation.objects.get()
        assert "new@example.test" not in text(client.get(f"/accounts/{school.pk}/members/"))
        client.post(url, {"do": "withdraw", "of": str(letter.pk)})
        letter.refresh_from_db()
        assert letter.revoked_at

    def test_a_viewer_sees_no_letters(self, client, people, school, link):
        client.force_login(people["school_viewer"])
        shown = text(client.get(f"/accounts/{school.pk}/children/"))
        assert "charlie@example.test" not in shown
        url = f"/accounts/{school.pk}/children/"
        text(client.post(url, {"do": "invite_child", "of": "", "email": "a@b.test", "pays_from": "SELF"}), 403)

    def test_it_shows_what_can_be_taken_back(self, client, head, people, school, form):
        services.fund(account=school, to=form, asset="GPU", amount=5 * HOUR, by=head, key="1")
        client.force_login(head)
        assert "You can take back 5" in text(client.get(f"/accounts/{school.pk}/children/"))
        client.force_login(people["school_viewer"])
        assert "take back" not in text(client.get(f"/accounts/{school.pk}/children/"))
