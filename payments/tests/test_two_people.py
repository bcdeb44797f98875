"""Money out of nothing takes two people, neither of whom gains by it, and cannot be had in small pieces."""

from __future__ import annotations

import pytest

from accounts.models import Membership
from gaas.lib import clock
from gaas.lib.errors import Conflict, NotAllowed
from payments import services
from payments.choices import PaymentStatus
from payments.models import Payment
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def record(lab, fay):
    def make(usd=50, reference="R-1", by=fay, method="bank transfer"):
        return services.record_payment(
            account=lab, amount=usd * USD, method=method, reference=reference, by=by, now=clock.now()
        )

    return make


@pytest.fixture
def fay_owns_it(lab, fay):
    Membership.objects.create(user=fay, account=lab, role="OWNER")


class TestPieces:
    def test_small_ones_add_up(self, record, wallet, fred):
        record(60)
        second = record(60, "R-2")
        assert (second.status, wallet()) == (PaymentStatus.PENDING, 60 * USD)
        services.approve_payment(payment=second, by=fred, now=clock.now())
        # What two people agreed on counts for nobody alone.
        assert record(40, "R-3").is_paid

    def test_nor_by_taking_turns(self, record, fred):
        record(60)
        assert not record(60, "R-2", by=fred).is_paid

    def test_refunds_add_up_too(self, paid, fay, fred):
        payment = paid(150)
        for number, usd in enumerate((60, 60)):
            refund = services.request_refund(
                payment_id=payment.pk, amount=usd * USD, reason="Back", by=fay, now=clock.now()
            )
            if number:
                with pytest.raises(services.OwnRefund):
                    services.note_sent(refund=refund, reference="OUT-1", by=fay, now=clock.now())
                services.note_sent(refund=refund, reference="OUT-1", by=fred, now=clock.now())
            else:
                services.note_sent(refund=refund, reference="OUT-0", by=fay, now=clock.now())


@pytest.mark.usefixtures("fay_owns_it")
class TestWhoGains:
    def test_what_an_owner_records_waits_for_another(self, record, wallet, fay, fred):
        payment = record(5)
        assert (payment.status, wallet()) == (PaymentStatus.PENDING, 0)
        services.approve_payment(payment=payment, by=fred, now=clock.now())
        assert wallet() == 5 * USD

    def test_nor_does_an_owner_approve(self, record, fay, fred, wallet):
        payment = record(500, by=fred)
        with pytest.raises(NotAllowed):
            services.approve_payment(payment=payment, by=fay, now=clock.now())
        assert wallet() == 0

    def test_nor_confirm_alone_what_they_announced(self, lab, fay, wallet):
        asked = services.start_payment(account=lab, provider="manual", amount=9 * USD, by=fay, now=clock.now())
        services.confirm_payment(payment=asked, amount=9 * USD, method="cash", reference="X", by=fay, now=clock.now())
        assert wallet() == 0


class TestNothingIsStuck:
    @pytest.fixture
    def confirmed(self, lab, alice, fay):
        asked = services.start_payment(account=lab, provider="manual", amount=500 * USD, by=alice, now=clock.now())
        services.cancel_payment(payment=asked, by=alice, now=clock.now())
        return services.confirm_payment(
            payment=asked, amount=500 * USD, method="cash", reference="X", by=fay, now=clock.now()
        )

    def test_a_large_one_that_was_cancelled_can_be_approved(self, confirmed, fred, wallet):
        services.approve_payment(payment=confirmed, by=fred, now=clock.now())
        assert wallet() == 500 * USD

    def test_or_rejected_and_its_reference_used_again(self, confirmed, fred, record):
        services.reject_payment(payment=confirmed, by=fred, reason="Not there", now=clock.now())
        assert record(50, "X", method="cash").is_paid
        with pytest.raises(Conflict):
            services.approve_payment(payment=confirmed, by=fred, now=clock.now())

    def test_a_draft_that_its_owner_cancels_can_still_be_approved(self, record, alice, fred, wallet):
        payment = record(500)
        services.cancel_payment(payment=payment, by=alice, now=clock.now())
        services.approve_payment(payment=Payment.objects.get(), by=fred, now=clock.now())
        assert wallet() == 500 * USD


class TestReference:
    @pytest.mark.parametrize(
        ("method", "reference"),
        [("bank  transfer", "R-1"), ("Bank Transfer", "r-1"), ("bank transfer", "\uff32-1")],
        ids=["spaces", "case", "width"],
    )
    def test_one_line_of_a_statement_is_booked_once_however_it_is_written(self, record, method, reference):
        record(10)
        with pytest.raises(services.ReferenceUsed):
            record(10, reference, method=method)
