"""Refunds: never more than came in, held while under way, given back when they fail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.ledger.services import InsufficientBalance, hold
from accounts.services import wallet_balance
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from payments import services
from payments.choices import PaymentStatus, RefundStatus
from payments.models import Payment, Refund
from payments.providers import ProviderRefused, Seen
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def ask(fay):
    def make(payment, usd, by=fay, reason="Paid twice"):
        return services.request_refund(
            payment_id=payment.pk, amount=int(usd * USD), reason=reason, by=by, now=clock.now()
        )

    return make


@pytest.fixture
def by_bank(lab, alice, bank):
    """A payment of 50 dollars through a provider."""
    payment = services.start_payment(account=lab, provider="stripe", amount=50 * USD, by=alice, now=clock.now())
    services.follow(payment_id=payment.pk, now=clock.now())
    services.apply(payment_id=payment.pk, seen=Seen("succeeded", 50 * USD), now=clock.now())
    payment.refresh_from_db()
    return payment


def fresh(row):
    return type(row).objects.get(pk=row.pk)


class TestByHand:
    def test_the_wallet_holds_it_until_it_is_sent(self, paid, ask, fay, wallet):
        payment = paid(50)
        refund = ask(payment, 20)
        assert (wallet(), fresh(payment).refunding) == (30 * USD, 20 * USD)
        services.note_sent(refund=refund, reference="OUT-1", by=fay, now=clock.now())
        after = fresh(payment)
        assert (after.status, after.refunded, after.refunding) == (PaymentStatus.PARTIALLY_REFUNDED, 20 * USD, 0)
        assert wallet() == 30 * USD

    def test_all_of_it(self, paid, ask, fay, wallet):
        payment = paid(50)
        for part in (20, 30):
            services.note_sent(refund=ask(payment, part), reference=f"OUT-{part}", by=fay, now=clock.now())
        assert (fresh(payment).status, wallet()) == (PaymentStatus.REFUNDED, 0)

    def test_a_large_one_is_noted_by_a_second_person(self, paid, ask, fay, fred):
        refund = ask(paid(150), 150)
        with pytest.raises(services.OwnRefund):
            services.note_sent(refund=refund, reference="OUT-1", by=fay, now=clock.now())
        done = services.note_sent(refund=refund, reference="OUT-1", by=fred, now=clock.now())
        assert (done.status, done.approved_by) == (RefundStatus.SUCCEEDED, fred)

    @pytest.mark.parametrize("reference", ["OUT-1", " out-1 "])
    def test_each_reference_is_booked_once(self, paid, ask, fay, wallet, reference):
        first, second = ask(paid(50), 20), ask(paid(50, "R-2"), 20)
        services.note_sent(refund=first, reference="OUT-1", by=fay, now=clock.now())
        with pytest.raises(services.ReferenceUsed):
            services.note_sent(refund=second, reference=reference, by=fay, now=clock.now())
        assert (fresh(second).status, wallet()) == (RefundStatus.REQUESTED, 60 * USD)
        services.note_sent(refund=second, reference="OUT-2", by=fay, now=clock.now())

    def test_what_was_sent_once_is_not_noted_under_another(self, paid, ask, fay, wallet):
        refund = ask(paid(50), 20)
        for reference in ("OUT-1", "out-1"):
            done = services.note_sent(refund=refund, reference=reference, by=fay, now=clock.now())
            assert (done.status, done.reference) == (RefundStatus.SUCCEEDED, "OUT-1")
        with pytest.raises(Conflict, match="OUT-1: what went under OUT-2 is one too many"):
            services.note_sent(refund=refund, reference="OUT-2", by=fay, now=clock.now())
        assert wallet() == 30 * USD

    def test_it_can_be_taken_back(self, paid, ask, fay, wallet):
        payment = paid(50)
        services.cancel_refund(refund=ask(payment, 20), by=fay, reason="A mistake", now=clock.now())
        assert (wallet(), fresh(payment).refunding) == (50 * USD, 0)


class TestBounds:
    def test_never_more_than_came_in(self, paid, ask):
        payment = paid(50)
        ask(payment, 30)
        with pytest.raises(services.RefundTooLarge):
            ask(payment, 20.000001)
        ask(payment, 20)

    def test_nor_what_was_spent(self, paid, ask, lab):
        payment = paid(50)
        hold(balance=wallet_balance(lab), amount=40 * USD, key="t", purpose="test")
        with pytest.raises(InsufficientBalance):
            ask(payment, 20)
        assert not Refund.objects.exists()

    @pytest.mark.parametrize("amount", [0, -1])
    def test_nothing_is_no_refund(self, paid, ask, amount):
        with pytest.raises(services.RefundTooLarge):
            ask(paid(50), amount)

    def test_it_takes_the_permission_and_a_reason(self, paid, ask, alice):
        payment = paid(50)
        with pytest.raises(NotAllowed):
            ask(payment, 10, by=alice)
        with pytest.raises(DomainError):
            ask(payment, 10, reason="  ")

    def test_what_never_came_in_is_not_sent_back(self, lab, alice, ask):
        payment = services.start_payment(account=lab, provider="manual", amount=9 * USD, by=alice, now=clock.now())
        with pytest.raises(Conflict):
            ask(payment, 9)


class TestByProvider:
    def test_it_is_sent_by_the_sweep(self, by_bank, ask, bank, wallet):
        refund = ask(by_bank, 20)
        services.sweep(now=clock.now())
        assert (fresh(refund).status, wallet()) == (RefundStatus.SUCCEEDED, 30 * USD)
        assert bank.asked.count(("refund", str(refund.pk))) == 1

    def test_no_answer_is_unknown_and_the_money_stays_held(self, by_bank, ask, bank, wallet):
        refund = ask(by_bank, 20)
        bank.is_down = True
        services.sweep(now=clock.now())
        assert (fresh(refund).status, wallet()) == (RefundStatus.UNKNOWN, 30 * USD)
        bank.is_down = False
        services.sweep(now=clock.now() + timedelta(hours=1))
        assert (fresh(refund).status, wallet()) == (RefundStatus.SUCCEEDED, 30 * USD)

    def test_a_refusal_gives_it_back(self, by_bank, ask, bank, wallet, monkeypatch):
        refund = ask(by_bank, 20)

        def refuse(_):
            raise ProviderRefused("charge_disputed", "The charge is contested.")

        monkeypatch.setattr(bank, "refund", refuse)
        services.sweep(now=clock.now())
        assert (fresh(refund).status, fresh(refund).failure_detail) == (RefundStatus.FAILED, "The charge is contested.")
        assert (wallet(), fresh(by_bank).status) == (50 * USD, PaymentStatus.SUCCEEDED)

    def test_case_36_partial_refund_that_fails_after_it_was_accepted(self, by_bank, ask, wallet):
        refund = ask(by_bank, 20)
        services.sweep(now=clock.now())
        for _ in range(2):
            services.fail_refund(refund_id=refund.pk, detail="The bank sent it back.", now=clock.now())
        after = fresh(by_bank)
        assert (after.status, after.refunded, wallet()) == (PaymentStatus.SUCCEEDED, 0, 50 * USD)

    def test_case_36_refund_from_the_dashboard(self, by_bank, wallet, lab):
        hold(balance=wallet_balance(lab), amount=40 * USD, key="t", purpose="test")
        told = {"payment_id": by_bank.pk, "provider_id": "re_9", "amount": 20 * USD, "now": clock.now()}
        first, again = services.note_foreign_refund(**told), services.note_foreign_refund(**told)
        assert first == again
        assert (wallet(), services.owed_by(lab)) == (0, 10 * USD)
        assert fresh(by_bank).status == PaymentStatus.PARTIALLY_REFUNDED

    def test_a_foreign_refund_that_left_a_debt_and_then_failed_comes_back_and_repays_it(self, by_bank, lab, wallet):
        hold(balance=wallet_balance(lab), amount=40 * USD, key="spent", purpose="test")
        told = {"payment_id": by_bank.pk, "provider_id": "re_9", "amount": 20 * USD, "now": clock.now()}
        refund = services.note_foreign_refund(**told)
        assert (wallet(), services.owed_by(lab)) == (0, 10 * USD)
        for _ in range(2):
            services.fail_refund(refund_id=refund.pk, detail="The account was closed.", now=clock.now())
        assert (wallet(), services.owed_by(lab)) == (10 * USD, 0)
        assert (fresh(refund).status, fresh(by_bank).refunded) == (RefundStatus.FAILED, 0)

    def test_a_foreign_refund_of_more_than_came_in_is_not_booked(self, by_bank):
        told = {"payment_id": by_bank.pk, "provider_id": "re_9", "amount": 51 * USD, "now": clock.now()}
        assert services.note_foreign_refund(**told) is None

    def test_a_large_one_waits_for_a_second_person(self, lab, alice, bank, ask, fay, fred):
        payment = services.start_payment(account=lab, provider="stripe", amount=500 * USD, by=alice, now=clock.now())
        services.follow(payment_id=payment.pk, now=clock.now())
        services.apply(payment_id=payment.pk, seen=Seen("succeeded", 500 * USD), now=clock.now())
        refund = ask(payment, 500)
        services.sweep(now=clock.now())
        assert fresh(refund).status == RefundStatus.REQUESTED
        with pytest.raises(services.OwnRefund):
            services.approve_refund(refund=refund, by=fay, now=clock.now())
        services.approve_refund(refund=refund, by=fred, now=clock.now())
        services.sweep(now=clock.now())
        assert (fresh(refund).status, Payment.objects.get().status) == (RefundStatus.SUCCEEDED, PaymentStatus.REFUNDED)
        trail = AuditEvent.objects.filter(action__startswith="refund.")
        assert [event.actor for event in trail.filter(action="refund.request", reason="Paid twice")] == [fay]
        assert [event.actor for event in trail.filter(action="refund.approve")] == [fred]

    def test_parts_of_a_cent_are_refused_where_the_provider_cannot_send_them(self, by_bank, ask, bank, monkeypatch):
        def check(amount):
            if amount % 10_000:
                raise DomainError("Whole cents only.", attr="amount_usd")

        monkeypatch.setattr(bank, "check", check)
        with pytest.raises(DomainError):
            ask(by_bank, 1.005)
        assert not Refund.objects.exists()

    def test_nothing_is_sent_back_before_its_reviews_are_decided(self, by_bank, ask, fay):
        review = services.ask(
            key="r", provider="stripe", code="refund_beyond_payment", detail="", facts={}, payment=by_bank
        )
        with pytest.raises(Conflict):
            ask(by_bank, 20)
        services.resolve(review=review, outcome="kept", resolution="Seen", by=fay, now=clock.now())
        assert ask(by_bank, 20)
