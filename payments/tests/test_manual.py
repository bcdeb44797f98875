"""Manual payments: recorded by one, above a limit approved by another, each reference once."""

from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from payments import services
from payments.choices import PaymentStatus
from payments.models import Payment
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def record(lab, fay):
    def make(usd=50, reference="R-1", by=fay, account=lab, method="bank transfer"):
        return services.record_payment(
            account=account, amount=usd * USD, method=method, reference=reference, by=by, now=clock.now()
        )

    return make


class TestRecord:
    def test_a_small_one_is_credited_at_once(self, record, wallet):
        payment = record(50)
        assert (payment.status, payment.received) == (PaymentStatus.SUCCEEDED, 50 * USD)
        assert wallet() == 50 * USD

    def test_a_large_one_waits_for_a_second_person(self, record, wallet, fay, fred):
        payment = record(101)
        assert (payment.status, wallet()) == (PaymentStatus.PENDING, 0)
        with pytest.raises(services.OwnDraft):
            services.approve_payment(payment=payment, by=fay, now=clock.now())
        approved = services.approve_payment(payment=payment, by=fred, now=clock.now())
        assert (approved.status, approved.approved_by, wallet()) == (PaymentStatus.SUCCEEDED, fred, 101 * USD)

    def test_it_cannot_be_approved_twice(self, record, wallet, fred):
        payment = record(101)
        services.approve_payment(payment=payment, by=fred, now=clock.now())
        with pytest.raises(Conflict):
            services.approve_payment(payment=payment, by=fred, now=clock.now())
        assert wallet() == 101 * USD

    def test_a_reference_is_booked_once(self, record, wallet):
        record(50)
        for same in ("R-1", " R-1 "):
            with pytest.raises(services.ReferenceUsed):
                record(60, same, method="Bank transfer")
        assert record(40, "R-1", method="cash").is_paid
        assert wallet() == 90 * USD

    def test_a_rejected_draft_frees_its_reference_and_says_why(self, record, wallet, fred):
        payment = services.reject_payment(payment=record(500), by=fred, reason="Not on the statement", now=clock.now())
        assert (payment.status, wallet()) == (PaymentStatus.FAILED, 0)
        assert "Not on the statement" in payment.failure_detail
        assert record(500).status == PaymentStatus.PENDING

    def test_it_takes_the_permission(self, record, alice):
        with pytest.raises(NotAllowed):
            record(by=alice)
        assert not Payment.objects.exists()

    @pytest.mark.parametrize("usd", [0, 100_001])
    def test_an_amount_out_of_bounds_is_refused(self, record, usd):
        with pytest.raises(services.AmountOutOfBounds):
            record(usd)

    def test_nothing_is_recorded_without_a_reference(self, record):
        with pytest.raises(DomainError):
            record(reference="  ")

    def test_an_account_that_pays_from_its_parent_gets_none(self, record, child):
        with pytest.raises(DomainError) as refused:
            record(account=child)
        assert refused.value.code == "pays_from_parent"

    def test_who_did_what_is_on_record(self, record, fay, fred):
        payment = services.approve_payment(payment=record(101), by=fred, now=clock.now())
        story = list(payment.events.order_by("id").values_list("to_status", "by_label"))
        assert story == [("PENDING", fay.email), ("SUCCEEDED", fred.email)]
        assert AuditEvent.objects.get(action="payment.succeeded").actor == fred


class TestConfirm:
    @pytest.fixture
    def asked(self, lab, alice):
        return services.start_payment(account=lab, provider="manual", amount=80 * USD, by=alice, now=clock.now())

    def test_an_owner_announces_it_and_finance_notes_what_came(self, asked, fay, wallet):
        assert asked.instructions["reference"].startswith("GAAS-")
        payment = services.confirm_payment(
            payment=asked, amount=79 * USD, method="bank transfer", reference="X", by=fay, now=clock.now()
        )
        assert (payment.status, payment.received, wallet()) == (PaymentStatus.SUCCEEDED, 79 * USD, 79 * USD)
        event = AuditEvent.objects.get(action="payment.confirm")
        assert (event.actor, event.before, event.after["amount"]) == (fay, {"amount": 80 * USD}, 79 * USD)

    def test_it_is_noted_once(self, asked, fay, wallet):
        told = {"amount": 79 * USD, "method": "bank transfer", "by": fay, "now": clock.now()}
        services.confirm_payment(payment=asked, reference="X", **told)
        with pytest.raises(Conflict):
            services.confirm_payment(payment=asked, reference="Y", **told)
        assert wallet() == 79 * USD

    def test_a_cancelled_one_may_still_come_in(self, asked, alice, fay, wallet):
        services.cancel_payment(payment=asked, by=alice, now=clock.now())
        services.confirm_payment(payment=asked, amount=80 * USD, method="cash", reference="X", by=fay, now=clock.now())
        assert wallet() == 80 * USD

    def test_a_member_cannot_announce_one(self, lab, bob):
        with pytest.raises(NotAllowed):
            services.start_payment(account=lab, provider="manual", amount=80 * USD, by=bob, now=clock.now())
