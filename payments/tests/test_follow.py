"""Payments by a provider: told after the commit, asked until decided, credited once however late."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.ledger.models import Transfer
from accounts.ledger.services import freeze
from accounts.models import Membership
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.lib.errors import NotAllowed
from payments import services
from payments.choices import PaymentStatus
from payments.models import Payment, Review
from payments.providers import ProviderNotSetUp, Seen
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def asked(lab, alice, bank):
    return services.start_payment(account=lab, provider="stripe", amount=50 * USD, by=alice, now=clock.now())


@pytest.fixture
def begun(asked):
    services.sweep(now=clock.now())
    asked.refresh_from_db()
    return asked


def later(**delta):
    return clock.now() + timedelta(**delta)


class TestBegin:
    def test_the_provider_is_told_and_the_payer_what_to_do(self, asked, bank):
        assert (asked.status, bank.asked) == (PaymentStatus.CREATED, [])
        services.sweep(now=clock.now())
        asked.refresh_from_db()
        assert (asked.status, asked.instructions) == (PaymentStatus.PENDING, {"go_to": "https://bank.example/pay"})
        assert bank.asked == [("begin", asked.provider_key)]

    def test_it_is_told_again_while_it_does_not_answer(self, asked, bank):
        bank.is_down = True
        services.sweep(now=clock.now())
        asked.refresh_from_db()
        assert asked.status == PaymentStatus.CREATED
        bank.is_down = False
        services.sweep(now=later(minutes=1))
        asked.refresh_from_db()
        assert asked.status == PaymentStatus.PENDING
        assert bank.asked == [("begin", asked.provider_key)] * 2

    def test_what_counts_up_is_looked_at_often_however_old_it_is(self, begun, bank):
        now = later(hours=5)
        services.follow(payment_id=begun.pk, now=now)
        begun.refresh_from_db()
        assert begun.look_at > now + timedelta(minutes=20)
        bank.seen = Seen("pending", facts={"confirmations": 3})
        now = begun.look_at
        services.follow(payment_id=begun.pk, now=now)
        begun.refresh_from_db()
        assert begun.look_at == now + timedelta(seconds=20)

    def test_of_two_who_look_at_once_one_asks(self, asked, bank):
        now = clock.now()
        stale = Payment.objects.get(pk=asked.pk)
        services.follow(payment_id=asked.pk, now=now)
        assert stale.look_at is not None
        services.follow(payment_id=asked.pk, now=now)
        assert len(bank.asked) == 1

    def test_a_provider_that_is_not_set_up_is_named(self, lab, alice):
        with pytest.raises(ProviderNotSetUp) as refused:
            services.start_payment(account=lab, provider="onchain", amount=50 * USD, by=alice, now=clock.now())
        assert refused.value.attr == "provider"


class TestFollow:
    def test_it_is_credited_once(self, begun, bank, wallet):
        bank.seen = Seen("succeeded", 50 * USD)
        for hours in (1, 2, 3):
            services.sweep(now=later(hours=hours))
        assert wallet() == 50 * USD
        assert Transfer.objects.filter(kind="topup").count() == 1

    def test_a_decline_says_why(self, begun, bank, wallet):
        bank.seen = Seen("failed", failure="card_declined", detail="The card was declined.")
        services.sweep(now=later(hours=1))
        begun.refresh_from_db()
        assert (begun.status, begun.failure_code, wallet()) == (PaymentStatus.FAILED, "card_declined", 0)

    def test_nobody_paid_in_time(self, begun, bank, wallet):
        services.sweep(now=later(days=8))
        begun.refresh_from_db()
        assert begun.status == PaymentStatus.EXPIRED
        services.sweep(now=later(days=8, hours=1))
        begun.refresh_from_db()
        assert bank.asked[-1] == ("give_up", begun.provider_id)
        assert begun.look_at is None

    def test_case_33_amount_mismatch_goes_to_review(self, begun, bank, wallet):
        bank.seen = Seen("succeeded", 49 * USD)
        for hours in (1, 2):
            services.sweep(now=later(hours=hours))
        review = Review.objects.get()
        assert (review.code, review.in_suspense, wallet()) == ("amount_mismatch", 49 * USD, 0)
        begun.refresh_from_db()
        assert begun.status == PaymentStatus.PENDING

    def test_case_33_currency_mismatch_moves_nothing(self, begun, bank, wallet):
        bank.seen = Seen("succeeded", 50 * USD, currency="EUR")
        services.sweep(now=later(hours=1))
        review = Review.objects.get()
        assert (review.code, review.in_suspense, wallet()) == ("currency_mismatch", 0, 0)

    def test_case_34_event_lost_poller_credits_once_then_event_arrives(self, begun, bank, wallet):
        bank.seen = Seen("succeeded", 50 * USD)
        services.sweep(now=later(hours=1))
        services.apply(payment_id=begun.pk, seen=bank.seen, now=later(hours=2))
        assert wallet() == 50 * USD

    def test_case_35_canceled_locally_succeeds_at_the_provider(self, begun, bank, alice, wallet):
        services.cancel_payment(payment=begun, by=alice, now=clock.now())
        bank.seen = Seen("succeeded", 50 * USD)
        services.sweep(now=later(seconds=1))
        begun.refresh_from_db()
        assert (begun.status, wallet()) == (PaymentStatus.SUCCEEDED, 50 * USD)


class TestReview:
    @pytest.fixture
    def review(self, begun, bank):
        bank.seen = Seen("succeeded", 49 * USD)
        services.sweep(now=later(hours=1))
        return Review.objects.get()

    def test_it_is_credited_by_a_person(self, review, fay, wallet):
        services.resolve(review=review, outcome="credited", resolution="The rest was a fee", by=fay, now=clock.now())
        payment = Payment.objects.get()
        assert (payment.status, payment.received, wallet()) == (PaymentStatus.SUCCEEDED, 49 * USD, 49 * USD)

    def test_or_sent_back(self, review, fay, wallet):
        services.resolve(review=review, outcome="returned", resolution="Wrong payer", by=fay, now=clock.now())
        assert (Payment.objects.get().status, wallet()) == (PaymentStatus.FAILED, 0)

    def test_once(self, review, fay, wallet):
        services.resolve(review=review, outcome="credited", resolution="Fine", by=fay, now=clock.now())
        with pytest.raises(Exception, match="resolved this"):
            services.resolve(review=review, outcome="returned", resolution="No", by=fay, now=clock.now())
        assert wallet() == 49 * USD

    def test_money_that_waits_cannot_be_forgotten(self, review, fay):
        with pytest.raises(Exception, match="Money waits"):
            services.resolve(review=review, outcome="kept", resolution="Whatever", by=fay, now=clock.now())

    def test_money_is_set_aside_once_whatever_the_doubt(self, review, begun, wallet, fay):
        seen = Seen("succeeded", 49 * USD, failure="metadata_mismatch", detail="Another one's")
        services.apply(payment_id=begun.pk, seen=seen, now=later(hours=3))
        assert Transfer.objects.filter(kind="suspense").count() == 1
        assert sum(Review.objects.values_list("in_suspense", flat=True)) == 49 * USD

    def test_what_was_sent_back_is_not_credited_later(self, review, begun, wallet, fay):
        services.resolve(review=review, outcome="returned", resolution="Wrong payer", by=fay, now=clock.now())
        services.apply(payment_id=begun.pk, seen=Seen("succeeded", 50 * USD), now=later(hours=3))
        assert wallet() == 0

    def test_nobody_decides_for_an_account_of_their_own(self, review, lab, fay, wallet):
        Membership.objects.create(user=fay, account=lab, role="OWNER")
        with pytest.raises(NotAllowed):
            services.resolve(review=review, outcome="credited", resolution="Mine", by=fay, now=clock.now())
        assert wallet() == 0


class TestRaces:
    def test_what_was_cancelled_while_it_began_is_given_up_there(self, asked, bank, alice, monkeypatch):
        begin = bank.begin

        def slow(payment):
            begun = begin(payment)
            services.cancel_payment(payment=Payment.objects.get(), by=alice, now=clock.now())
            return begun

        monkeypatch.setattr(bank, "begin", slow)
        services.sweep(now=clock.now())
        services.sweep(now=later(minutes=1))
        assert bank.asked[-1] == ("give_up", f"bank_{asked.pk.hex}")

    def test_a_frozen_wallet_puts_it_before_a_person(self, begun, bank, lab, fay):
        balance = wallet_balance(lab)
        freeze(balance=balance, incoming=True, outgoing=True)
        bank.seen = Seen("succeeded", 50 * USD)
        services.sweep(now=later(hours=1))
        review = Review.objects.get()
        assert (review.code, review.in_suspense) == ("wallet_frozen", 50 * USD)
        freeze(balance=balance, incoming=False, outgoing=False)
        services.resolve(review=review, outcome="credited", resolution="Thawed", by=fay, now=clock.now())
        assert wallet_balance(lab).available == 50 * USD

    def test_a_silent_provider_does_not_keep_the_rest_of_a_sweep_waiting(self, lab, alice, bank):
        for _ in range(10):
            services.start_payment(account=lab, provider="stripe", amount=5 * USD, by=alice, now=clock.now())
        bank.is_down = True
        services.sweep(now=clock.now())
        assert len(bank.asked) <= 3
