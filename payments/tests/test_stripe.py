"""Stripe: the official library against a peer on loopback, every path of a payment, a refund, a dispute."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.ledger.models import Transfer
from accounts.ledger.services import hold
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.lib.errors import Conflict
from payments import services
from payments.models import Dispute, Payment, Refund, Review, WebhookEvent
from payments.providers import PROVIDERS
from payments.providers.stripe import StripeProvider
from payments.tests.conftest import USD
from payments.tests.stripe_peer import SECRET, signed, stripe_peer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/webhooks/stripe/"


@pytest.fixture
def begin(stripe, lab, alice):
    """Begin a payment and let Stripe know of it."""

    def make(usd=50, method="checkout"):
        payment = services.start_payment(
            account=lab, provider="stripe", amount=int(usd * USD), by=alice, now=clock.now(), method=method
        )
        services.follow(payment_id=payment.pk, now=clock.now())
        return Payment.objects.get(pk=payment.pk)

    return make


@pytest.fixture
def paid_there(begin, stripe):
    """A payment that came in, and its intent at Stripe."""

    def make(usd=50):
        payment = begin(usd)
        intent = stripe.pay(payment.provider_id)
        services.follow(payment_id=payment.pk, now=later(hours=1))
        return Payment.objects.get(pk=payment.pk), intent

    return make


def later(**delta):
    return clock.now() + timedelta(**delta)


def send(event, **how):
    body, signature = signed(event, **how)
    return APIClient().post(URL, body, content_type="application/json", headers={"Stripe-Signature": signature})


def tell(event):
    """Send an event as Stripe does, and let the worker look into it."""
    assert send(event).status_code == 200
    services.sweep(now=later(seconds=1))


class TestPay:
    @pytest.mark.parametrize(("method", "told"), [("checkout", "go_to"), ("intent", "client_secret")])
    def test_the_payer_is_told_what_to_do_and_pays(self, begin, stripe, wallet, method, told):
        payment = begin(50, method)
        assert payment.status == "PENDING"
        assert payment.instructions[told]
        intent = stripe.pay(payment.provider_id)
        tell(stripe.event("payment_intent.succeeded", intent))
        payment.refresh_from_db()
        assert (payment.status, wallet()) == ("SUCCEEDED", 50 * USD)

    def test_an_answer_that_is_lost_makes_no_second_payment(self, stripe, lab, alice):
        payment = services.start_payment(account=lab, provider="stripe", amount=9 * USD, by=alice, now=clock.now())
        stripe.loses_answers = True
        services.follow(payment_id=payment.pk, now=clock.now())
        stripe.loses_answers = False
        services.follow(payment_id=payment.pk, now=later(minutes=5))
        assert len(stripe.things) == 1
        assert Payment.objects.get().status == "PENDING"

    def test_a_part_of_a_cent_is_refused(self, stripe, lab, alice):
        with pytest.raises(Exception, match="whole cents"):
            services.start_payment(account=lab, provider="stripe", amount=USD + 1, by=alice, now=clock.now())

    def test_case_34_event_lost_poller_credits_once_then_event_arrives(self, begin, stripe, wallet):
        payment = begin()
        intent = stripe.pay(payment.provider_id)
        services.sweep(now=later(hours=1))
        assert wallet() == 50 * USD
        tell(stripe.event("payment_intent.succeeded", intent))
        assert wallet() == 50 * USD

    def test_case_35_canceled_locally_succeeds_at_stripe(self, begin, stripe, alice, wallet):
        payment = begin()
        intent = stripe.pay(payment.provider_id)
        services.cancel_payment(payment=payment, by=alice, now=clock.now())
        tell(stripe.event("payment_intent.succeeded", intent))
        assert (Payment.objects.get().status, wallet()) == ("SUCCEEDED", 50 * USD)

    def test_a_cancelled_one_cannot_be_paid_there_any_more(self, begin, stripe, alice):
        payment = begin()
        services.cancel_payment(payment=payment, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        assert stripe.things[payment.provider_id]["status"] == "expired"

    def test_down_is_not_failed(self, begin, stripe, wallet):
        payment = begin()
        stripe.pay(payment.provider_id)
        stripe.is_down = True
        services.sweep(now=later(hours=1))
        assert Payment.objects.get().status == "PENDING"
        stripe.is_down = False
        services.sweep(now=later(hours=2))
        assert wallet() == 50 * USD

    @pytest.mark.parametrize(
        ("how", "code", "waiting"),
        [({"cents": 4999}, "amount_mismatch", 49_990_000), ({"currency": "eur"}, "currency_mismatch", 0)],
    )
    def test_case_33_amount_or_currency_mismatch_goes_to_review(self, begin, stripe, wallet, how, code, waiting):
        intent = stripe.pay(begin().provider_id, **how)
        for _ in range(2):
            tell(stripe.event("payment_intent.succeeded", intent))
        review = Review.objects.get()
        assert (review.code, review.in_suspense, wallet()) == (code, waiting, 0)

    def test_case_33_metadata_mismatch_goes_to_review(self, begin, stripe, wallet):
        payment = begin()
        intent = stripe.pay(payment.provider_id)
        intent["metadata"] = {"payment": "another"}
        services.sweep(now=later(hours=1))
        assert (Review.objects.get().code, wallet()) == ("metadata_mismatch", 0)


class TestWebhook:
    def test_case_29_bad_old_missing_signature_rotated_secret_altered_byte(self, begin, stripe, wallet):
        event = stripe.event("payment_intent.succeeded", stripe.pay(begin().provider_id))
        assert send(event, secret="whsec_forged").status_code == 400
        assert send(event, at=time.time() - 301).status_code == 400
        body, signature = signed(event)
        client = APIClient()
        assert client.post(URL, body, content_type="application/json").status_code == 400
        altered = client.post(
            URL,
            body.replace(b"5000", b"9000"),
            content_type="application/json",
            headers={"Stripe-Signature": signature},
        )
        assert (altered.status_code, altered.json()["errors"][0]["code"]) == (400, "bad_signature")
        wrong_scheme = signature.replace("v1=", "v0=")
        assert (
            client.post(
                URL, body, content_type="application/json", headers={"Stripe-Signature": wrong_scheme}
            ).status_code
            == 400
        )
        assert not WebhookEvent.objects.exists()
        # Both secrets are good while one is being replaced.
        assert send(event, secret="whsec_of_last_year").status_code == 200
        services.sweep(now=later(seconds=1))
        assert wallet() == 50 * USD

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'"x"', b"\xff\xfe", b'{"id": 5}'], ids=repr)
    def test_what_is_no_event_is_refused(self, stripe, body):
        import hashlib
        import hmac

        now = int(time.time())
        digest = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        answer = APIClient().post(
            URL, body, content_type="application/json", headers={"Stripe-Signature": f"t={now},v1={digest}"}
        )
        assert answer.status_code == 400

    def test_case_30_duplicate_x10_in_parallel(self, transactional_db, postgresql, begin, stripe, wallet):
        event = stripe.event("payment_intent.succeeded", stripe.pay(begin().provider_id))

        def deliver(_):
            try:
                return send(event).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(deliver, range(10))) == {200}
        services.sweep(now=later(seconds=1))
        assert (WebhookEvent.objects.count(), wallet()) == (1, 50 * USD)

    def test_case_31_refund_event_before_payment_event(self, begin, stripe, wallet):
        payment = begin()
        intent = stripe.pay(payment.provider_id)
        refund = stripe.refund_in_dashboard(intent["id"], 2000)
        tell(stripe.event("charge.refunded", {"object": "charge", "id": "ch_1", "payment_intent": intent["id"]}))
        tell(stripe.event("payment_intent.succeeded", intent))
        payment.refresh_from_db()
        assert (payment.status, payment.refunded, wallet()) == ("PARTIALLY_REFUNDED", 20 * USD, 30 * USD)
        assert Refund.objects.get().provider_id == refund["id"]

    def test_case_32_test_mode_event_on_live(self, begin, stripe, wallet):
        event = stripe.event("payment_intent.succeeded", stripe.pay(begin().provider_id), livemode=True)
        answer = send(event)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "wrong_mode")
        assert not WebhookEvent.objects.exists()

    def test_an_event_about_nothing_of_ours_is_done_at_once(self, stripe):
        tell(stripe.event("payment_intent.succeeded", {"object": "payment_intent", "id": "pi_9", "metadata": {}}))
        assert WebhookEvent.objects.get().done_at is not None

    def test_two_events_for_one_payment_credit_it_once(self, begin, stripe, wallet):
        payment = begin()
        intent = stripe.pay(payment.provider_id)
        tell(stripe.event("checkout.session.completed", stripe.things[payment.provider_id]))
        tell(stripe.event("payment_intent.succeeded", intent))
        assert wallet() == 50 * USD
        assert Transfer.objects.filter(kind="topup").count() == 1

    def test_an_event_that_cannot_be_looked_into_now_waits(self, begin, stripe, wallet):
        event = stripe.event("payment_intent.succeeded", stripe.pay(begin().provider_id))
        stripe.is_down = True
        tell(event)
        kept = WebhookEvent.objects.get()
        assert kept.done_at is None
        assert kept.problem
        stripe.is_down = False
        services.sweep(now=later(hours=2))
        assert wallet() == 50 * USD

    def test_without_keys_there_is_no_such_address(self, monkeypatch, db):
        monkeypatch.delitem(PROVIDERS, "stripe", raising=False)
        assert APIClient().post(URL, b"{}", content_type="application/json").status_code == 404


class TestRefund:
    @pytest.fixture
    def ask(self, fay):
        def make(payment, usd):
            return services.request_refund(
                payment_id=payment.pk, amount=usd * USD, reason="Paid twice", by=fay, now=clock.now()
            )

        return make

    def test_it_is_sent_and_captured(self, paid_there, stripe, ask, wallet):
        payment, _ = paid_there()
        refund = ask(payment, 20)
        services.sweep(now=later(seconds=1))
        refund.refresh_from_db()
        assert (refund.status, wallet()) == ("SUCCEEDED", 30 * USD)
        assert stripe.things[refund.provider_id]["amount"] == 2000

    def test_a_lost_answer_sends_it_once(self, paid_there, stripe, ask, wallet):
        payment, _ = paid_there()
        refund = ask(payment, 20)
        stripe.loses_answers = True
        services.sweep(now=later(seconds=1))
        refund.refresh_from_db()
        assert (refund.status, wallet()) == ("UNKNOWN", 30 * USD)
        stripe.loses_answers = False
        # After a day Stripe has forgotten the key; it is found by its mark.
        stripe.answers.clear()
        services.sweep(now=later(days=2))
        refund.refresh_from_db()
        assert refund.status == "SUCCEEDED"
        assert [thing["object"] for thing in stripe.things.values()].count("refund") == 1

    def test_what_another_account_may_have_sent_is_not_given_back(
        self, paid_there, stripe, ask, wallet, monkeypatch, fay, fred
    ):
        payment, _ = paid_there()
        refund = ask(payment, 20)
        stripe.loses_answers = True
        services.sweep(now=later(seconds=1))
        with stripe_peer() as elsewhere:
            key = {"key": "sk_test_y", "webhook_secrets": [SECRET], "return_url": "", "base": elsewhere.url}
            monkeypatch.setitem(PROVIDERS, "stripe", StripeProvider(**key))
            for days in (2, 4):
                services.sweep(now=later(days=days))
            refund.refresh_from_db()
            assert (refund.status, wallet()) == ("UNKNOWN", 30 * USD)
        assert Review.objects.get().code == "refund_other_account"
        about = {"refund": refund, "was_sent": False, "reason": "Not in the old dashboard.", "now": clock.now()}
        with pytest.raises(services.OwnRefund):
            services.settle_refund(**about, by=fay)
        services.settle_refund(**about, by=fred)
        refund.refresh_from_db()
        assert (refund.status, wallet()) == ("FAILED", 50 * USD)

    def test_a_person_says_that_it_was_sent(self, paid_there, stripe, ask, wallet, fred):
        payment, _ = paid_there()
        refund = ask(payment, 20)
        with pytest.raises(Conflict):
            services.settle_refund(refund=refund, was_sent=True, reason="x", by=fred, now=clock.now())
        stripe.loses_answers = True
        services.sweep(now=later(seconds=1))
        services.settle_refund(refund=refund, was_sent=True, reason="Seen there.", by=fred, now=clock.now())
        refund.refresh_from_db()
        payment.refresh_from_db()
        assert (refund.status, payment.refunded, wallet()) == ("SUCCEEDED", 20 * USD, 30 * USD)

    def test_a_person_says_that_it_was_not_and_is_wrong(self, paid_there, stripe, ask, wallet, fred):
        payment, _ = paid_there()
        refund, other = ask(payment, 20), ask(payment, 5)
        stripe.loses_answers = True
        services.sweep(now=later(seconds=1))
        stripe.loses_answers = False
        about = {"was_sent": False, "reason": "Not seen there.", "by": fred, "now": clock.now()}
        for one in (refund, other):
            services.settle_refund(refund=one, **about)
            # A call that was held up on its way gets there only now.
            PROVIDERS["stripe"].refund(one)
        made = next(thing for thing in stripe.things.values() if thing["object"] == "refund")
        for _ in range(2):
            tell(stripe.event("refund.updated", made))
        assert not WebhookEvent.objects.filter(done_at=None).exists()
        assert [review.code for review in Review.objects.all()] == ["refund_sent_after_all"] * 2
        refund.refresh_from_db()
        assert (refund.status, wallet()) == ("FAILED", 50 * USD)

    def test_who_said_that_it_was_not_sent_is_kept(self, paid_there, stripe, ask, fred):
        payment, _ = paid_there()
        refund = ask(payment, 20)
        stripe.loses_answers = True
        services.sweep(now=later(seconds=1))
        services.settle_refund(refund=refund, was_sent=False, reason="Not there.", by=fred, now=clock.now())
        assert payment.events.get(to_status="FAILED").by == fred

    def test_case_36_refund_fails_after_it_was_accepted(self, paid_there, stripe, ask, wallet):
        payment, _intent = paid_there()
        refund = ask(payment, 20)
        services.sweep(now=later(seconds=1))
        refund.refresh_from_db()
        there = stripe.things[refund.provider_id]
        there |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        tell(stripe.event("refund.failed", there))
        refund.refresh_from_db()
        payment.refresh_from_db()
        assert (refund.status, payment.status, wallet()) == ("FAILED", "SUCCEEDED", 50 * USD)
        assert "expired_or_canceled_card" in refund.failure_detail

    def test_what_stripe_refuses_is_given_back(self, paid_there, stripe, ask, wallet):
        payment, intent = paid_there()
        stripe.refund_in_dashboard(intent["id"], 4000)
        refund = ask(payment, 20)
        services.sweep(now=later(seconds=1))
        refund.refresh_from_db()
        assert refund.status == "FAILED"

    def test_case_36_refund_from_the_dashboard_beyond_the_wallet_is_owed(self, paid_there, stripe, lab, wallet):
        _payment, intent = paid_there()
        hold(balance=wallet_balance(lab), amount=45 * USD, key="t", purpose="test")
        refund = stripe.refund_in_dashboard(intent["id"], 2000)
        for _ in range(2):
            tell(stripe.event("refund.created", refund))
        assert (wallet(), services.owed_by(lab)) == (0, 15 * USD)


class TestDispute:
    def test_case_37_dispute_when_the_wallet_is_spent(self, paid_there, stripe, lab, wallet):
        _payment, intent = paid_there()
        hold(balance=wallet_balance(lab), amount=45 * USD, key="t", purpose="test")
        dispute = stripe.dispute(intent["id"], 5000)
        tell(stripe.event("charge.dispute.created", dispute))
        assert (wallet(), services.owed_by(lab)) == (0, 45 * USD)
        dispute["status"] = "won"
        for _ in range(2):
            tell(stripe.event("charge.dispute.closed", dispute))
        assert (wallet(), services.owed_by(lab)) == (5 * USD, 0)
        assert Payment.objects.get().status == "DISPUTE_WON"

    def test_one_that_is_lost_before_we_heard_of_it(self, paid_there, stripe, wallet):
        _, intent = paid_there()
        tell(stripe.event("charge.dispute.closed", stripe.dispute(intent["id"], 5000, "lost")))
        assert (Payment.objects.get().status, wallet()) == ("DISPUTE_LOST", 0)

    def test_an_inquiry_takes_nothing(self, paid_there, stripe, wallet):
        _, intent = paid_there()
        tell(stripe.event("charge.dispute.created", stripe.dispute(intent["id"], 5000, "warning_needs_response")))
        assert (Dispute.objects.count(), wallet()) == (0, 50 * USD)

    def test_one_in_another_currency_goes_to_review(self, paid_there, stripe, wallet):
        _, intent = paid_there()
        tell(stripe.event("charge.dispute.created", stripe.dispute(intent["id"], 4000, currency="eur")))
        assert (Review.objects.get().code, wallet()) == ("dispute_in_another_currency", 50 * USD)
        assert WebhookEvent.objects.filter(done_at=None).count() == 0

    @pytest.mark.parametrize("intent", [None, "pi_of_another_shop"])
    def test_one_of_a_payment_that_nobody_knows_goes_to_review(self, paid_there, stripe, wallet, intent):
        paid_there()
        for _ in range(2):
            tell(stripe.event("charge.dispute.created", stripe.dispute(intent, 4000)))
        assert {review.code for review in Review.objects.all()} == {"dispute_of_unknown_payment"}
        assert wallet() == 50 * USD
        assert WebhookEvent.objects.filter(done_at=None).count() == 0

    def test_more_than_is_left_goes_to_review(self, paid_there, stripe):
        _, intent = paid_there()
        stripe.refund_in_dashboard(intent["id"], 2000)
        tell(stripe.event("charge.refunded", {"object": "charge", "id": "ch_1", "payment_intent": intent["id"]}))
        for _ in range(2):
            tell(stripe.event("charge.dispute.created", stripe.dispute(intent["id"], 5000)))
        assert Review.objects.filter(code="dispute_beyond_payment").count() == 2
