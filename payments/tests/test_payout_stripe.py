"""Payouts through Stripe Connect: the official library against a peer on loopback, paid once whatever is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.ledger.models import Transfer
from accounts.ledger.services import freeze
from gaas.lib import clock
from gaas.lib.errors import Conflict, NotAllowed
from gaas.outbox.models import Mail
from payments import services
from payments.models import Payout, Review
from payments.providers import PROVIDERS
from payments.providers.stripe import StripeProvider
from payments.services.payout_sending import arrived
from payments.tests.conftest import CONNECT, USD
from payments.tests.stripe_peer import SECRET, stripe_peer
from payments.tests.test_stripe import later, tell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def transfers(peer):
    return [thing for thing in peer.things.values() if thing["object"] == "transfer"]


def posts(peer):
    return peer.calls.count(("POST", "/v1/transfers"))


@pytest.fixture
def send(stripe, agreed):
    """Let one be agreed to, and let the sweep send it."""

    def make(usd=40):
        payout = agreed(usd, "stripe")
        services.sweep(now=later(seconds=1))
        return fresh(payout)

    return make


def fresh(payout):
    return Payout.objects.get(pk=payout.pk)


class TestSend:
    def test_it_is_transferred_once(self, send, stripe, earned, settings):
        settings.PAYOUT_FEE_USD = "1.50"
        payout = send()
        services.sweep(now=later(minutes=5))
        (made,) = transfers(stripe)
        assert (made["amount"], made["destination"], made["currency"]) == (3850, CONNECT, "usd")
        assert (payout.status, payout.provider_id, earned()) == ("PAID", made["id"], 60 * USD)
        booked = Transfer.objects.filter(ref=str(payout.pk)).values_list("kind", "amount")
        assert sorted(booked) == [("payout", 38_500_000), ("payout_fee", 1_500_000)]
        assert Mail.objects.filter(key__startswith=f"payout:{payout.pk}:PAID").exists()

    def test_nothing_is_sent_before_somebody_agreed(self, stripe, asked):
        asked(40, "stripe")
        services.sweep(now=later(days=1))
        assert stripe.calls == []

    def test_nothing_is_begun_while_stripe_is_not_set_up(self, stripe, agreed, monkeypatch, alice, earned):
        payout = agreed(40, "stripe")
        monkeypatch.delitem(PROVIDERS, "stripe")
        services.sweep(now=later(seconds=1))
        assert fresh(payout).status == "APPROVED"
        services.cancel_payout(payout=payout, by=alice, now=clock.now())
        assert earned() == 100 * USD

    def test_a_refusal_gives_it_back_and_says_why(self, send, stripe, earned):
        stripe.closed_accounts.add(CONNECT)
        payout = send()
        assert (payout.status, payout.failure_code, earned()) == ("FAILED", "account_invalid", 100 * USD)
        assert "cannot receive transfers" in Mail.objects.get(key__startswith=f"payout:{payout.pk}:FAILED").body

    def test_it_is_not_sent_by_hand(self, stripe, agreed, fred):
        payout = agreed(40, "stripe")
        with pytest.raises(Conflict):
            services.begin_sending(payout=payout, by=fred, now=clock.now())
        services.sweep(now=later(seconds=1))

    def test_case_49_earnings_frozen_between_approve_and_send(self, stripe, agreed, lab):
        payout = agreed(40, "stripe")
        freeze(balance=services.earnings_of(lab), incoming=False, outgoing=True)
        services.sweep(now=later(seconds=1))
        assert (fresh(payout).status, fresh(payout).failure_code) == ("FAILED", "earnings_frozen")
        assert stripe.calls == []

    def test_eight_workers_send_it_once(self, transactional_db, postgresql, stripe, agreed, earned):
        payout = agreed(40, "stripe")

        def work(number):
            try:
                # Each a little later, so that each may find it due.
                services.send_payout(payout_id=payout.pk, now=later(minutes=2 * number))
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(1, 9)))
        assert (len(transfers(stripe)), fresh(payout).status, earned()) == (1, "PAID", 60 * USD)


class TestUnknown:
    @pytest.fixture
    def lost(self, send, stripe, earned):
        """Sent, and the answer lost."""
        stripe.loses_answers = True
        payout = send()
        stripe.loses_answers = False
        assert (payout.status, earned(), len(transfers(stripe))) == ("UNKNOWN", 60 * USD, 1)
        assert payout.hold.state == "open"
        return payout

    def test_case_47_provider_timeout_but_paid_retry_within_24_hours(self, lost, stripe, earned):
        services.sweep(now=later(hours=2))
        assert (fresh(lost).status, len(transfers(stripe)), posts(stripe)) == ("PAID", 1, 2)
        # The same key told them apart: nobody had to look.
        assert ("GET", "/v1/transfers") not in stripe.calls
        assert earned() == 60 * USD

    def test_case_47_and_after_24_hours_when_the_key_is_forgotten(self, lost, stripe, earned):
        stripe.forget_keys()
        services.sweep(now=later(hours=25))
        assert (fresh(lost).status, len(transfers(stripe)), posts(stripe)) == ("PAID", 1, 1)
        assert ("GET", "/v1/transfers") in stripe.calls
        assert earned() == 60 * USD

    def test_case_47_what_was_never_made_is_made_after_24_hours_too(self, send, stripe):
        stripe.is_down = True
        payout = send()
        services.sweep(now=later(hours=25))
        assert (payout.status, fresh(payout).status, transfers(stripe)) == ("UNKNOWN", "UNKNOWN", [])
        stripe.is_down = False
        services.sweep(now=later(hours=50))
        assert (fresh(payout).status, len(transfers(stripe))) == ("PAID", 1)

    def test_case_47_nobody_takes_it_back_meanwhile(self, lost, alice, fred, earned):
        with pytest.raises(Conflict):
            services.cancel_payout(payout=fresh(lost), by=alice, now=clock.now())
        with pytest.raises(Conflict):
            services.give_up_payout(payout=fresh(lost), by=fred, reason="x", now=clock.now())
        assert earned() == 60 * USD

    def test_a_crash_before_the_call_is_made_good(self, stripe, agreed, earned):
        payout = agreed(40, "stripe")
        # As it stands when the process dies after the commit.
        payout.send(by=None, now=clock.now(), again_at=clock.now())
        services.sweep(now=later(minutes=2))
        assert (fresh(payout).status, len(transfers(stripe)), earned()) == ("PAID", 1, 60 * USD)

    def test_what_is_found_and_differs_goes_to_a_person(self, lost, stripe, earned):
        transfers(stripe)[0]["amount"] = 1
        stripe.forget_keys()
        for hours in (25, 60):
            services.sweep(now=later(hours=hours))
        assert (fresh(lost).status, Review.objects.get().code, earned()) == ("UNKNOWN", "payout_mismatch", 60 * USD)

    def settle(self, payout, by, was_sent):
        return services.settle_payout(
            payout=payout, was_sent=was_sent, reason="Seen in the dashboard.", by=by, now=clock.now()
        )

    def test_a_person_says_that_it_was_sent(self, lost, stripe, earned, fred):
        self.settle(lost, fred, was_sent=True)
        services.sweep(now=later(hours=60))
        assert (fresh(lost).status, earned(), len(transfers(stripe))) == ("PAID", 60 * USD, 1)
        assert fresh(lost).events.order_by("pk").last().reason == "Seen in the dashboard."

    def test_what_a_person_said_was_sent_may_come_back(self, lost, stripe, earned, fred):
        self.settle(lost, fred, was_sent=True)
        (made,) = transfers(stripe)
        tell(stripe.event("transfer.reversed", stripe.take_transfer_back(made["id"], 4000)))
        assert (fresh(lost).status, earned()) == ("RETURNED", 100 * USD)

    def test_a_person_says_that_it_was_not_and_is_wrong(self, lost, stripe, earned, fred):
        # A call that began before comes back only now.
        held_up = fresh(lost)
        self.settle(lost, fred, was_sent=False)
        assert (fresh(lost).status, earned()) == ("FAILED", 100 * USD)
        arrived(payout_id=held_up.pk, by=None, now=clock.now(), provider_id="tr_1")
        assert (fresh(lost).status, Review.objects.get().code, earned()) == (
            "FAILED",
            "payout_sent_after_all",
            100 * USD,
        )

    def test_a_person_says_that_it_was_not_and_an_event_shows_it(self, lost, stripe, earned, fred):
        self.settle(lost, fred, was_sent=False)
        (made,) = transfers(stripe)
        for _ in range(2):
            tell(stripe.event("transfer.created", made))
        assert [review.code for review in Review.objects.all()] == ["payout_sent_after_all"]
        assert (fresh(lost).status, earned()) == ("FAILED", 100 * USD)

    def test_and_one_that_was_taken_back_there_needs_nobody(self, lost, stripe, fred):
        self.settle(lost, fred, was_sent=False)
        (made,) = transfers(stripe)
        tell(stripe.event("transfer.reversed", stripe.take_transfer_back(made["id"], 4000)))
        assert not Review.objects.exists()

    def test_who_asked_or_agreed_does_not_say_how_it_went(self, lost, alice):
        for person in (lost.approved_by, alice):
            with pytest.raises(NotAllowed):
                self.settle(lost, person, was_sent=False)
        assert fresh(lost).status == "UNKNOWN"

    def test_only_what_nobody_knows_is_settled(self, send, stripe, fred):
        with pytest.raises(Conflict):
            self.settle(send(), fred, was_sent=False)


class TestAnotherAccount:
    """The key is replaced by one of another account of the platform's, which knows nothing of what this one sent."""

    @pytest.fixture
    def other(self, stripe, monkeypatch):
        with stripe_peer() as peer:
            peer.account = "acct_other"
            provider = StripeProvider(key="sk_test_y", webhook_secrets=[SECRET], return_url="", base=peer.url)

            def take_over():
                monkeypatch.setitem(PROVIDERS, "stripe", provider)
                return peer

            yield take_over

    def test_what_may_have_been_sent_is_not_sent_again(self, send, stripe, other, earned, fred):
        stripe.loses_answers = True
        payout = send()
        stripe.loses_answers = False
        peer = other()
        told = payout.events.count()
        for hours in (2, 30, 60):
            services.sweep(now=later(hours=hours))
        # Said once, however often it is looked at.
        assert payout.events.count() == told + 1
        after = fresh(payout)
        assert (after.status, after.platform, transfers(peer)) == ("UNKNOWN", "acct_platform test", [])
        review = Review.objects.get()
        assert (review.code, review.facts["key_of"]) == ("payout_other_account", "acct_other test")
        assert "acct_other test now" in after.failure_detail
        services.settle_payout(payout=after, was_sent=True, reason="In the old dashboard.", by=fred, now=clock.now())
        assert (fresh(payout).status, earned()) == ("PAID", 60 * USD)

    def test_with_the_key_of_before_it_goes_on(self, send, stripe, other, monkeypatch):
        stripe.loses_answers = True
        before = PROVIDERS["stripe"]
        payout = send()
        stripe.loses_answers = False
        other()
        services.sweep(now=later(hours=2))
        monkeypatch.setitem(PROVIDERS, "stripe", before)
        services.sweep(now=later(hours=40))
        assert (fresh(payout).status, len(transfers(stripe))) == ("PAID", 1)

    def test_what_was_never_called_goes_by_the_new_one(self, stripe, agreed, other):
        payout = agreed(40, "stripe")
        peer = other()
        services.sweep(now=later(seconds=1))
        assert (fresh(payout).status, fresh(payout).platform) == ("PAID", "acct_other test")
        assert (len(transfers(peer)), len(transfers(stripe))) == (1, 0)

    def test_a_key_that_may_not_ask_sends_all_the_same(self, stripe, agreed, other):
        payout = agreed(40, "stripe")
        other().account = None
        services.sweep(now=later(seconds=1))
        after = fresh(payout)
        assert (after.status, after.platform[:4]) == ("PAID", "key ")
        assert "sk_test" not in after.platform

    def test_what_it_may_have_sent_no_other_key_sends_again(self, stripe, agreed, other, earned, monkeypatch):
        before, payout = PROVIDERS["stripe"], agreed(40, "stripe")
        peer = other()
        peer.account = None
        PROVIDERS["stripe"].platform()
        peer.loses_answers = True
        services.sweep(now=later(seconds=1))
        assert (fresh(payout).status, len(transfers(peer))) == ("UNKNOWN", 1)
        monkeypatch.setitem(PROVIDERS, "stripe", before)
        services.sweep(now=later(hours=4))
        assert (fresh(payout).status, transfers(stripe), earned()) == ("UNKNOWN", [], 60 * USD)
        assert Review.objects.get().code == "payout_other_account"

    def test_a_return_is_asked_for_by_another_key_of_which_nobody_knows_whose_it_is(self, send, stripe, monkeypatch):
        payout = send()
        stripe.account = None
        rolled = StripeProvider(key="rk_test_z", webhook_secrets=[SECRET], return_url="", base=stripe.url)
        monkeypatch.setitem(PROVIDERS, "stripe", rolled)
        stripe.take_transfer_back(payout.provider_id, 4000)
        services.sweep(now=later(days=2))
        assert fresh(payout).status == "RETURNED"

    def test_nothing_is_sent_before_the_account_is_known(self, stripe, agreed, other):
        payout = agreed(40, "stripe")
        peer = other()
        peer.loses_answers = True
        services.sweep(now=later(seconds=1))
        assert (fresh(payout).status, transfers(peer)) == ("UNKNOWN", [])
        peer.loses_answers = False
        services.sweep(now=later(hours=2))
        assert (fresh(payout).status, len(transfers(peer))) == ("PAID", 1)

    def test_a_return_is_not_asked_for_where_nobody_knows_of_it(self, send, other):
        payout = send()
        other()
        for days in (2, 4):
            services.sweep(now=later(days=days))
        after = fresh(payout)
        assert (after.status, after.due_at) == ("PAID", None)
        assert "nobody asks any more" in after.events.order_by("pk").last().reason


class TestReturn:
    def test_case_48_paid_then_returned(self, send, stripe, earned):
        payout = send()
        back = stripe.take_transfer_back(payout.provider_id, 4000)
        for _ in range(2):
            tell(stripe.event("transfer.reversed", back))
        after = fresh(payout)
        assert (after.status, after.returned, earned()) == ("RETURNED", 40 * USD, 100 * USD)
        assert "came back" in Mail.objects.get(key__startswith=f"payout:{payout.pk}:RETURNED").body

    def test_case_48_in_parts_and_without_an_event(self, send, stripe, earned):
        payout = send()
        stripe.take_transfer_back(payout.provider_id, 1000)
        services.sweep(now=later(days=2))
        assert (fresh(payout).status, earned()) == ("PAID", 70 * USD)
        assert payout.events.order_by("id").last().reason == "10.000000 USD of it came back so far."
        stripe.take_transfer_back(payout.provider_id, 3000)
        services.sweep(now=later(days=4))
        assert (fresh(payout).status, earned()) == ("RETURNED", 100 * USD)
        assert fresh(payout).due_at is None

    def test_case_48_what_cannot_be_booked_yet_is_not_forgotten(self, send, stripe, lab, earned):
        payout = send()
        stripe.take_transfer_back(payout.provider_id, 4000)
        freeze(balance=services.earnings_of(lab), incoming=True, outgoing=False)
        services.sweep(now=later(days=2))
        assert (fresh(payout).status, fresh(payout).due_at is None) == ("PAID", False)
        freeze(balance=services.earnings_of(lab), incoming=False, outgoing=False)
        services.sweep(now=later(days=4))
        assert (fresh(payout).status, earned(), fresh(payout).due_at) == ("RETURNED", 100 * USD, None)

    def test_an_event_about_a_transfer_of_nobody_is_let_go(self, send, stripe, earned):
        send()
        tell(stripe.event("transfer.reversed", {"object": "transfer", "id": "tr_x", "metadata": {"payout": "x"}}))
        assert earned() == 60 * USD

    def test_what_is_not_there_is_asked_for_once_a_day_and_not_for_ever(self, send, stripe):
        payout = send()
        stripe.things.clear()
        stripe.calls.clear()
        for minutes in range(5):
            services.sweep(now=later(days=2, minutes=2 * minutes))
        assert stripe.calls == [("GET", f"/v1/transfers/{payout.provider_id}")]
        services.sweep(now=later(days=100))
        assert (fresh(payout).status, fresh(payout).due_at) == ("PAID", None)

    def test_in_the_end_nobody_asks_any_more(self, send, stripe):
        payout = send()
        services.sweep(now=later(days=100))
        assert fresh(payout).due_at is None
