"""The page of an account's earnings: what is there, where it may go, and payouts asked for and taken back."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.test import Client

from accounts.ledger.services import freeze, open_balance, platform_balance, transfer
from accounts.models import User
from gaas.lib import clock
from payments import services
from payments.models import Payout, PayoutDestination
from payments.tests.conftest import EVM, IBAN, USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def url(account):
    return f"/accounts/{account.pk}/earnings/"


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def told(page):
    """Give what a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split())


@pytest.fixture
def web():
    def login(user):
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def pending(lab):
    """Let the lab earn 7 dollars now."""
    transfer(
        key="task",
        kind="earning",
        debit=platform_balance(asset="USD", kind="clearing:test"),
        credit=open_balance(asset="USD", kind="earnings_pending", owner_key=lab.owner_key),
        amount=7 * USD,
    )


def send(client, account, verb, of="", **fields):
    return client.post(url(account), {"do": verb, "of": str(of), **fields})


class TestWhatIsThere:
    def test_pending_free_held_and_paid_out(self, web, alice, lab, agreed, fred, pending, settings):
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        agreed(25)
        page = told(text(web(alice).get(url(lab))))
        figures = "Free to take out 35.00 USD Pending 7.00 USD Held for payouts 25.00 USD Paid out so far 40.00 USD"
        assert figures in page
        # A week after today.
        day = clock.now() + timedelta(seconds=settings.EARNINGS_DELAY_SECONDS)
        assert f"{day:%-d %B %Y} 7.00 USD" in page
        assert "Sent on" in page
        assert "reference OUT-1" in page
        assert "Staff agreed; now one of them has to send it." in page

    def test_earned_by_month(self, web, alice, lab, earned, pending):
        page = text(web(alice).get(url(lab)))
        # What matured was earned once.
        assert f"<title>{clock.now():%B %Y}: 7.00 USD</title>" in page
        assert page.count("<rect") == 12

    def test_an_account_without_any_is_told_where_earnings_come_from(self, web, alice):
        page = text(web(alice).get(url(alice.personal_account)))
        assert "offer one" in told(page)
        assert 'aria-current="page">Earnings' not in page

    def test_the_tab_is_there_once_something_was_earned(self, web, alice, lab, pending):
        assert "Earnings</a>" in text(web(alice).get(url(lab)))

    def test_frozen_earnings_say_so(self, web, alice, lab, earned):
        freeze(balance=services.earnings_of(lab), incoming=False, outgoing=True)
        assert "Staff froze these earnings" in told(text(web(alice).get(url(lab))))

    def test_a_destination_is_whole_to_owners_alone(self, web, alice, bob, fay, lab, place):
        place()
        assert IBAN in text(web(alice).get(url(lab)))
        for user in (bob,):
            page = text(web(user).get(url(lab)))
            assert IBAN not in page
            assert "…3000" in page

    def test_looking_costs_no_more_with_more_rows(self, web, alice, lab, place, asked, django_assert_max_num_queries):
        place("manual", "Account 1")
        asked(10)
        client = web(alice)
        client.get(url(lab))
        for number in range(2, 5):
            place("manual", f"Account {number}")
            asked(10)
        with django_assert_max_num_queries(20):
            client.get(url(lab))


class TestAsk:
    def test_an_owner_asks_once_however_often_it_is_sent(self, web, alice, lab, place, earned):
        where, key = place(), str(uuid.uuid4())
        for _ in range(2):
            answer = send(web(alice), lab, "ask_payout", amount="40", destination=where.pk, key=key)
            assert (answer.status_code, answer["Location"]) == (302, url(lab))
        assert (Payout.objects.count(), earned()) == (1, 60 * USD)
        assert "Waits for a member of staff to agree." in told(text(web(alice).get(url(lab))))

    @pytest.mark.parametrize(
        ("amount", "says"),
        [("1000", "can be paid out"), ("5", "at least"), ("12.345", "whole cents"), ("x", "decimal")],
    )
    def test_a_refusal_stands_at_the_amount(self, web, alice, lab, place, earned, amount, says):
        fields = {"amount": amount, "destination": place().pk, "key": str(uuid.uuid4())}
        page = text(send(web(alice), lab, "ask_payout", **fields), 400)
        assert says in told(page)
        assert 'aria-invalid="true"' in page

    def test_a_place_of_another_account_is_not_there(self, web, alice, lab, place, earned):
        where, mine = place(), alice.personal_account
        fields = {"amount": "40", "destination": where.pk, "key": str(uuid.uuid4())}
        assert "gone by now" in told(text(send(web(alice), mine, "ask_payout", **fields), 404))
        assert not Payout.objects.exists()

    def test_it_is_taken_back(self, web, alice, lab, asked, earned):
        payout = asked(40)
        assert send(web(alice), lab, "cancel_payout", payout.pk).status_code == 302
        assert earned() == 100 * USD
        assert "Taken back before it was sent." in told(text(web(alice).get(url(lab))))

    def test_without_a_confirmed_address_it_is_asked_for_first(self, web, alice, lab, earned, place):
        place()
        User.objects.filter(pk=alice.pk).update(email_verified_at=None)
        page = text(web(alice).get(url(lab)))
        assert "First confirm your address" in told(page)
        assert "ask_payout" not in page


class TestPlaces:
    @pytest.fixture(autouse=True)
    def _confirmed(self, alice):
        User.objects.filter(pk=alice.pk).update(email_verified_at=clock.now())

    def test_one_is_added_and_waits(self, web, alice, lab):
        fields = {"kind": "manual", "detail": IBAN, "label": "House bank", "replaces": ""}
        assert send(web(alice), lab, "add_destination", **fields).status_code == 302
        page = told(text(web(alice).get(url(lab))))
        assert "Can be used from" in page
        assert "No destination can be used yet" in page

    def test_one_takes_the_place_of_another(self, web, alice, lab, place):
        old = place()
        fields = {"kind": "manual", "detail": "DE02 1203 0000 0000 2020 51", "label": "", "replaces": old.pk}
        assert send(web(alice), lab, "add_destination", **fields).status_code == 302
        assert PayoutDestination.objects.in_use().get().replaces == old
        assert send(web(alice), lab, "retire_destination", old.pk).status_code == 404

    def test_a_slip_stands_at_its_field(self, web, alice, lab):
        fields = {"kind": "manual", "detail": IBAN[:-1] + "1", "label": "", "replaces": ""}
        page = text(send(web(alice), lab, "add_destination", **fields), 400)
        assert "check digits do not fit" in told(page)

    def test_a_way_that_is_not_set_up_is_not_offered(self, web, alice, lab):
        assert 'value="onchain"' not in text(web(alice).get(url(lab)))
        fields = {"kind": "onchain", "detail": EVM, "label": "", "replaces": ""}
        assert "not set up here" in told(text(send(web(alice), lab, "add_destination", **fields), 400))
