"""Disputes: what is there is taken, the rest is owed, and a win brings all of it back."""

from __future__ import annotations

import pytest

from accounts.ledger.services import hold, open_balance, platform_balance, transfer
from accounts.services import wallet_balance
from accounts.services.organisations import create_child
from gaas.lib import clock
from gaas.outbox.models import Mail
from payments import services
from payments.choices import DisputeStatus, PaymentStatus
from payments.models import Dispute, Payment
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def contest(payment, usd, provider_id="dp_1"):
    return services.open_dispute(
        payment_id=payment.pk, provider_id=provider_id, amount=usd * USD, reason="fraudulent", now=clock.now()
    )


def spend(account, usd, key="spent", to=None):
    """Let a wallet pay an owner, as a settled task does."""
    transfer(
        key=key,
        kind="earning",
        debit=wallet_balance(account),
        credit=to or platform_balance(asset="USD", kind="fees"),
        amount=usd * USD,
    )


def earnings(account):
    return open_balance(asset="USD", kind="earnings", owner_key=account.owner_key)


class TestOpen:
    def test_what_is_there_is_taken(self, paid, wallet, lab):
        payment = paid(50)
        dispute = contest(payment, 50)
        assert (dispute.from_wallet, dispute.from_debt, wallet()) == (50 * USD, 0, 0)
        payment.refresh_from_db()
        assert (payment.status, payment.disputed) == (PaymentStatus.DISPUTED, 50 * USD)

    def test_once_however_often_it_is_told(self, paid, wallet):
        payment = paid(50)
        assert contest(payment, 20) == contest(payment, 20)
        assert (wallet(), Dispute.objects.count()) == (30 * USD, 1)

    def test_more_than_came_in_is_not_booked(self, paid):
        payment = paid(50)
        assert contest(payment, 51) is None
        contest(payment, 30)
        assert contest(payment, 30, "dp_2") is None

    def test_owners_are_told(self, paid, alice):
        contest(paid(50), 50)
        letter = Mail.objects.get(key__startswith="dispute:")
        assert letter.to == alice.email
        assert "50.000000 USD" in letter.body

    def test_where_an_account_has_no_owner_those_above_are_told(self, paid, lab, alice):
        below = create_child(parent=lab, name="Below", by=alice)
        contest(paid(50, account=below), 50)
        letter = Mail.objects.get(key__startswith="dispute:")
        assert letter.to == alice.email
        assert "account Below" in letter.body

    def test_case_37_dispute_when_the_wallet_is_spent(self, paid, lab, wallet):
        payment = paid(50)
        spend(lab, 45)
        dispute = contest(payment, 50)
        assert (dispute.from_wallet, dispute.from_debt) == (5 * USD, 45 * USD)
        assert (wallet(), services.owed_by(lab)) == (0, 45 * USD)
        # The next top-up repays it.
        paid(60, "R-2")
        assert (wallet(), services.owed_by(lab)) == (15 * USD, 0)
        # Won later: it comes back whole.
        services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        assert (wallet(), services.owed_by(lab)) == (65 * USD, 0)
        payment.refresh_from_db()
        assert (payment.status, payment.disputed) == (PaymentStatus.DISPUTE_WON, 0)

    def test_a_win_pays_what_is_still_owed_first(self, paid, lab, wallet):
        payment = paid(50)
        spend(lab, 45)
        contest(payment, 50)
        services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        assert (wallet(), services.owed_by(lab)) == (5 * USD, 0)

    def test_case_38_dispute_after_the_owner_was_paid_out(self, paid, lab, olga, wallet):
        payment = paid(50)
        owner = open_balance(asset="USD", kind="earnings", owner_key=f"acct:{olga.pk}")
        spend(lab, 45, to=owner)
        bank = platform_balance(asset="USD", kind="clearing:manual")
        transfer(key="paid out", kind="payout", debit=owner, credit=bank, amount=45 * USD)
        contest(payment, 50)
        services.close_dispute(provider_id="dp_1", won=False, now=clock.now())
        owner.refresh_from_db()
        # The owner keeps what was earned; the payer owes it.
        assert (owner.posted, services.owed_by(lab), wallet()) == (0, 45 * USD, 0)

    def test_case_51_dispute_takes_earnings_but_not_below_a_held_payout(self, paid, lab, wallet):
        payment = paid(50)
        own = earnings(lab)
        spend(lab, 50, to=own)
        hold(balance=own, amount=30 * USD, key="payout", purpose="payout")
        dispute = contest(payment, 50)
        assert (dispute.from_wallet, dispute.from_earnings, dispute.from_debt) == (0, 20 * USD, 30 * USD)
        own.refresh_from_db()
        assert (own.posted, own.held, services.owed_by(lab)) == (30 * USD, 30 * USD, 30 * USD)


class TestClose:
    def test_lost_stays_gone(self, paid, wallet):
        payment = paid(50)
        contest(payment, 50)
        for _ in range(2):
            closed = services.close_dispute(provider_id="dp_1", won=False, now=clock.now())
        payment.refresh_from_db()
        assert (closed.status, payment.status, wallet()) == (DisputeStatus.LOST, PaymentStatus.DISPUTE_LOST, 0)

    def test_won_once(self, paid, wallet):
        contest(paid(50), 50)
        for _ in range(3):
            services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        assert wallet() == 50 * USD

    def test_one_that_nobody_opened_is_none(self, db):
        assert services.close_dispute(provider_id="dp_9", won=True, now=clock.now()) is None

    def test_what_was_won_can_be_refunded(self, paid, fay):
        payment = paid(50)
        contest(payment, 50)
        services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        services.request_refund(payment_id=payment.pk, amount=50 * USD, reason="Sorry", by=fay, now=clock.now())
        assert Payment.objects.get().refunding == 50 * USD


class TestSeveral:
    def test_one_won_while_another_is_open_is_still_contested(self, paid):
        payment = paid(50)
        contest(payment, 20)
        contest(payment, 30, "dp_2")
        services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        assert Payment.objects.get().status == PaymentStatus.DISPUTED
        services.close_dispute(provider_id="dp_2", won=False, now=clock.now())
        after = Payment.objects.get()
        assert (after.status, after.disputed) == (PaymentStatus.DISPUTE_LOST, 30 * USD)

    def test_a_refund_that_fails_after_a_win_gives_the_money_back(self, paid, fay, wallet):
        payment = paid(50)
        refund = services.request_refund(payment_id=payment.pk, amount=20 * USD, reason="Back", by=fay, now=clock.now())
        services.note_sent(refund=refund, reference="OUT-1", by=fay, now=clock.now())
        contest(payment, 30)
        services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
        services.fail_refund(refund_id=refund.pk, detail="The bank sent it back.", now=clock.now())
        assert (wallet(), Payment.objects.get().refunded) == (50 * USD, 0)

    def test_a_refund_not_sent_yet_gives_way(self, paid, fay, wallet):
        payment = paid(50)
        refund = services.request_refund(payment_id=payment.pk, amount=40 * USD, reason="Back", by=fay, now=clock.now())
        assert contest(payment, 50) is not None
        refund.refresh_from_db()
        assert (refund.status, wallet(), services.owed_by(payment.account)) == ("CANCELLED", 0, 0)
