"""Drive payments and payouts by random events, right and wrong, late and twice; after every step the books are sound.

The bank at the edge keeps its own word about each payment and refund, so late and repeated reports agree with each
other; what may be in the wallet follows from it by a model of three sums.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.ledger import check
from accounts.ledger.models import Transfer
from accounts.ledger.services import platform_balance, transfer
from accounts.models import Account, User
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.lib.errors import DomainError
from payments import services
from payments.choices import PAYMENT_OPEN, PAYMENT_PAID, PaymentStatus
from payments.models import Dispute, Payment, Payout, Refund, Review
from payments.providers import ProviderUnreachable, Seen
from payments.services.debts import debt_of
from payments.tests.conftest import CONNECT, USD, Bank

picks = st.integers(0, 100)
dollars = st.sampled_from([1, 2, 5, 20, 40])


class Money(RuleBasedStateMachine):
    lab: Account
    alice: User
    fay: User
    fred: User
    bank: Bank

    @initialize()
    def begin(self) -> None:
        # Each run of the machine is undone as a whole, so that the next finds the books empty.
        self.block = transaction.atomic()
        self.block.__enter__()
        self.now: datetime = clock.now()
        self.bank.seen, self.bank.refunds, self.bank.is_down = Seen("pending"), Seen("succeeded"), False
        self.told: dict[Any, Seen] = {}  # the bank's last word about a payment; what came in stays in
        self.spent = self.earned = 0
        User.objects.filter(pk=self.alice.pk).update(email_verified_at=self.now)
        self.alice.refresh_from_db()
        self.bank.refuses, self.bank.came_back = False, {}
        self.place = services.add_destination(
            account=self.lab, kind="stripe", detail=CONNECT, by=self.alice, now=self.now - timedelta(days=9)
        )
        self.start(40)
        self.pay(0, 40)

    def teardown(self) -> None:
        if hasattr(self, "block"):
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)

    # --- what people and the bank do ----------------------------------------------------------------
    @rule(usd=dollars)
    def start(self, usd: int) -> None:
        payment = services.start_payment(
            account=self.lab, provider="stripe", amount=usd * USD, by=self.alice, now=self.now
        )
        self.told[payment.pk] = Seen("pending")
        services.follow(payment_id=payment.pk, now=self.now)

    @rule(number=picks, usd=st.none() | dollars, doubt=st.sampled_from(["", "", "", "metadata_mismatch"]))
    def pay(self, number: int, usd: int | None, doubt: str = "") -> None:
        """Let an amount come in, the right one or another; told again it is what came the first time."""
        payment = self.pick(Payment, number)
        if self.told[payment.pk].state != "succeeded":
            amount = payment.amount if usd is None else usd * USD
            self.told[payment.pk] = Seen("succeeded", amount)
        seen = self.told[payment.pk]
        services.apply(
            payment_id=payment.pk, seen=Seen("succeeded", seen.amount, failure=doubt, detail=doubt), now=self.now
        )

    @rule(number=picks)
    def decline(self, number: int) -> None:
        payment = self.pick(Payment, number)
        if self.told[payment.pk].state != "succeeded":
            services.apply(payment_id=payment.pk, seen=Seen("failed", failure="card_declined"), now=self.now)

    @rule(number=picks)
    def cancel(self, number: int) -> None:
        payment = self.pick(Payment, number)
        was_open = payment.status in PAYMENT_OPEN
        went = self.went(services.cancel_payment, payment=payment, by=self.alice)
        assert went is was_open

    @rule(number=picks)
    def expire(self, number: int) -> None:
        payment = self.pick(Payment, number)
        services.expire_payment(payment_id=payment.pk, now=self.now + timedelta(days=8))

    @rule(number=picks, usd=st.none() | dollars)
    def ask_back(self, number: int, usd: int | None) -> None:
        payment = self.pick(Payment, number)
        amount = payment.refundable if usd is None else usd * USD
        self.went(services.request_refund, payment_id=payment.pk, amount=amount, reason="Back", by=self.fay)

    @precondition(lambda self: Refund.objects.exists())
    @rule(number=picks, what=st.sampled_from(["sent", "sent", "pending", "down", "failed", "approve", "cancel"]))
    def send_back(self, number: int, what: str) -> None:
        refund = self.pick(Refund, number)
        if refund.is_foreign:
            return
        if what == "approve":
            self.went(services.approve_refund, refund=refund, by=self.fred)
        elif what == "cancel":
            self.went(services.cancel_refund, refund=refund, by=self.fay, reason="A mistake")
        elif what == "failed" and refund.status in ("SENDING", "UNKNOWN", "SUCCEEDED"):
            services.apply_refund(refund_id=refund.pk, seen=Seen("failed"), now=self.now)
        elif what != "failed":
            self.bank.is_down = what == "down"
            self.bank.refunds = Seen("pending" if what == "pending" else "succeeded")
            self.now += timedelta(hours=1)
            services.send_refund(refund_id=refund.pk, now=self.now)

    @rule(number=picks, usd=dollars, name=st.integers(0, 3))
    def refund_at_the_bank(self, number: int, usd: int, name: int) -> None:
        payment = self.pick(Payment, number)
        services.note_foreign_refund(payment_id=payment.pk, provider_id=f"re_{name}", amount=usd * USD, now=self.now)

    @rule(number=picks, usd=st.none() | dollars, name=st.integers(0, 3))
    def contest(self, number: int, usd: int | None, name: int) -> None:
        payment = self.pick(Payment, number)
        amount = payment.received if usd is None else usd * USD
        services.open_dispute(
            payment_id=payment.pk, provider_id=f"dp_{name}", amount=amount, reason="fraudulent", now=self.now
        )

    @rule(name=st.integers(0, 3), won=st.booleans())
    def judge(self, name: int, won: bool) -> None:
        services.close_dispute(provider_id=f"dp_{name}", won=won, now=self.now)

    @precondition(lambda self: Review.objects.exists())
    @rule(number=picks, outcome=st.sampled_from(["credited", "returned", "kept"]))
    def decide(self, number: int, outcome: str) -> None:
        review = self.pick(Review, number)
        self.went(services.resolve, review=review, outcome=outcome, resolution="Seen", by=self.fay)

    @rule(usd=dollars)
    def spend(self, usd: int) -> None:
        amount = min(usd * USD, wallet_balance(self.lab).available)
        if amount:
            fees = platform_balance(asset="USD", kind="fees")
            key = f"spent:{Transfer.objects.count()}"
            transfer(key=key, kind="earning", debit=wallet_balance(self.lab), credit=fees, amount=amount)
            self.spent += amount

    @rule(usd=dollars)
    def earn(self, usd: int) -> None:
        source, key = platform_balance(asset="USD", kind="clearing:test"), f"earned:{Transfer.objects.count()}"
        own = services.earnings_of(self.lab)
        transfer(key=key, kind="matured", debit=source, credit=own, amount=usd * USD)
        self.earned += usd * USD

    @rule(usd=st.sampled_from([5, 10, 20, 40]))
    def ask_out(self, usd: int) -> None:
        free = services.earnings_of(self.lab).available - services.owed_by(self.lab)
        went = self.went(services.request_payout, destination=self.place, amount=usd * USD, by=self.alice)
        assert went is (usd >= 10 and usd * USD <= free)

    @precondition(lambda self: Payout.objects.exists())
    @rule(number=picks, what=st.sampled_from(["approve", "approve", "reject", "cancel"]))
    def decide_out(self, number: int, what: str) -> None:
        payout = self.pick(Payout, number)
        if what == "approve":
            assert not self.went(services.approve_payout, payout=payout, by=self.alice)
            self.went(services.approve_payout, payout=payout, by=self.fay)
        elif what == "reject":
            self.went(services.reject_payout, payout=payout, reason="No", by=self.fay)
        else:
            self.went(services.cancel_payout, payout=payout, by=self.alice)

    @precondition(lambda self: Payout.objects.exists())
    @rule(number=picks, what=st.sampled_from(["sent", "sent", "down", "refused", "back", "half"]))
    def send_out(self, number: int, what: str) -> None:
        """Let the bank send it, be silent, refuse, or take back what it sent; a refusal never follows a silence."""
        payout = self.pick(Payout, number)
        if what in ("back", "half") and payout.provider_id:
            back = payout.net // (1 if what == "back" else 2)
            told = self.bank.came_back
            told[payout.provider_id] = max(back, told.get(payout.provider_id, 0))
        self.bank.is_down, self.bank.refuses = what == "down", what == "refused" and payout.status != "UNKNOWN"
        self.now += timedelta(days=2)
        with suppress(ProviderUnreachable):
            services.send_payout(payout_id=payout.pk, now=self.now)

    # --- what holds at all times --------------------------------------------------------------------
    @invariant()
    def books_are_sound(self) -> None:
        if hasattr(self, "block"):
            assert [problem for result in check.run(only=range(1, 15)) for problem in result.problems] == []

    @invariant()
    def no_money_from_nothing(self) -> None:
        """What the account has less what it owes is what came in, less what went out."""
        if not hasattr(self, "block"):
            return
        came = gone = 0
        for payment in Payment.objects.all():
            # Credited at most once, and only what the bank says came in.
            assert payment.received in (0, self.told[payment.pk].amount)
            came += payment.received
            gone += payment.refunded + payment.disputed
        for payout in Payout.objects.filter(status__in=["PAID", "RETURNED"]):
            gone += payout.amount - payout.returned
        own = (wallet_balance(self.lab), debt_of(self.lab), services.earnings_of(self.lab))
        assert sum(balance.posted or 0 for balance in own) == came - gone - self.spent + self.earned
        waits = sum(Review.objects.filter(status="OPEN").values_list("in_suspense", flat=True))
        assert platform_balance(asset="USD", kind="suspense").total() == waits

    @invariant()
    def states_tell_what_is(self) -> None:
        if not hasattr(self, "block"):
            return
        contested = set(Dispute.objects.filter(status="OPEN").values_list("payment_id", flat=True))
        for payment in Payment.objects.all():
            assert (payment.status == PaymentStatus.DISPUTED) is (payment.pk in contested)
            assert (payment.status in PAYMENT_PAID) is (payment.received > 0)
            if payment.status == PaymentStatus.REFUNDED:
                assert payment.refunded == payment.received - payment.disputed

    # --- how --------------------------------------------------------------------------------------
    def pick(self, model: Any, number: int) -> Any:
        rows = list(model.objects.order_by("pk"))
        return rows[number % len(rows)]

    def went(self, verb: Any, **about: Any) -> bool:
        """Tell whether a verb of people went through; it may refuse, and may not break."""
        try:
            verb(now=self.now, **about)
        except DomainError:
            return False
        return True


@pytest.mark.django_db
def test_payments_by_random_events(lab, alice, fay, fred, bank):
    if connection.vendor != "sqlite":
        pytest.skip("one engine is enough for what is arithmetic")
    for name, value in {"lab": lab, "alice": alice, "fay": fay, "fred": fred, "bank": bank}.items():
        setattr(Money, name, value)
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=5,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
