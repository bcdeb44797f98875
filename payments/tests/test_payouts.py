"""Payouts: asked for, agreed to by somebody else, sent by hand; what is promised stays held."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.utils import IntegrityError

from accounts.ledger.models import Transfer
from accounts.ledger.services import freeze, platform_balance
from accounts.models import Membership, User
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.outbox.models import Mail
from payments import services
from payments.checks import check_payout_amounts
from payments.choices import PayoutStatus
from payments.models import Payout, Review
from payments.tests.conftest import USD, clerk
from payments.tests.test_disputes import contest, spend

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def fees():
    return platform_balance(asset="USD", kind="fees").total()


def _closing(verb, **about):
    """Call a verb in a thread of its own, which leaves no connection behind; give how it ended."""
    try:
        verb(**about)
    except DomainError as refusal:
        return refusal.code
    finally:
        connection.close()
    return "ok"


@pytest.fixture
def gina(db):
    """A third one in finance."""
    return clerk("Gina")


class TestRequest:
    def test_the_earnings_hold_it_and_the_owners_are_told(self, asked, earned, alice):
        payout = asked(40)
        assert (payout.status, payout.hold.amount, earned()) == (PayoutStatus.REQUESTED, 40 * USD, 60 * USD)
        assert AuditEvent.objects.get(action="payout.requested").actor == alice
        letter = Mail.objects.get(key__startswith=f"payout:{payout.pk}")
        assert letter.to == alice.email
        assert "40.000000 USD" in letter.body
        assert "3000" in letter.body
        assert "DE89" not in letter.body

    def test_case_43_request_twice_in_parallel_over_the_balance(
        self, transactional_db, postgresql, place, earned, alice, settings
    ):
        where = place()
        with ThreadPoolExecutor(8) as pool:
            ended = list(
                pool.map(
                    lambda _: _closing(
                        services.request_payout, destination=where, amount=60 * USD, by=alice, now=clock.now()
                    ),
                    range(8),
                )
            )
        assert sorted(ended) == ["insufficient_funds"] * 7 + ["ok"]
        assert (Payout.objects.count(), earned()) == (1, 40 * USD)

    def test_case_43_and_one_after_the_other(self, asked, earned):
        asked(60)
        with pytest.raises(services.NotEarned, match=r"40\.000000 USD can be paid out"):
            asked(40.01)
        assert earned() == 40 * USD

    @pytest.mark.parametrize(
        ("usd", "code"),
        [(12.345, "not_whole_cents"), (9.99, "amount_out_of_bounds"), (0, "amount_out_of_bounds")],
    )
    def test_case_50_amount_not_of_whole_cents_or_below_the_minimum(self, asked, earned, usd, code):
        with pytest.raises(DomainError) as refused:
            asked(usd)
        assert (refused.value.code, refused.value.attr) == (code, "amount_usd")
        assert (Payout.objects.count(), earned()) == (0, 100 * USD)

    @pytest.mark.parametrize("fee", ["20", "20.01"])
    def test_case_50_fee_of_all_or_more(self, asked, earned, settings, fee):
        settings.PAYOUT_FEE_USD = fee
        with pytest.raises(services.FeeExceedsAmount):
            asked(20)
        assert earned() == 100 * USD

    def test_only_an_owner_with_a_confirmed_address_asks(self, place, earned, alice, bob):
        where, ask = place(), {"amount": 20 * USD, "now": clock.now()}
        with pytest.raises(NotAllowed):
            services.request_payout(destination=where, by=bob, **ask)
        User.objects.filter(pk=alice.pk).update(email_verified_at=None)
        with pytest.raises(NotAllowed) as refused:
            services.request_payout(destination=where, by=fresh(alice), **ask)
        assert refused.value.code == "email_not_verified"

    def test_what_the_account_owes_stays(self, asked, paid, lab, alice):
        payment = paid(50)
        asked(100)
        # All earnings are promised: what is contested is owed.
        spend(lab, 50)
        contest(payment, 50)
        services.cancel_payout(payout=Payout.objects.get(), by=alice, now=clock.now())
        with pytest.raises(services.AccountOwes):
            asked(50.01)
        asked(50)


class TestDecide:
    def test_a_second_person_agrees(self, agreed, fay):
        payout = agreed(40)
        assert (payout.status, payout.approved_by) == (PayoutStatus.APPROVED, fay)
        assert AuditEvent.objects.filter(action="payout.approved", object_id=str(payout.pk)).exists()

    def test_case_45_requester_approves_own(self, place, earned, fay, lab):
        where = place()
        Membership.objects.create(user=fay, account=lab, role="OWNER")
        User.objects.filter(pk=fay.pk).update(email_verified_at=clock.now())
        payout = services.request_payout(destination=where, amount=20 * USD, by=fresh(fay), now=clock.now())
        with pytest.raises(services.OwnPayout):
            services.approve_payout(payout=payout, by=fay, now=clock.now())
        # The table would not have it either.
        with pytest.raises(IntegrityError):
            payout.approve(by=fay, now=clock.now())

    def test_case_45_nor_somebody_else_of_the_account(self, asked, fay, lab):
        payout = asked(20)
        Membership.objects.create(user=fay, account=lab, role="MEMBER")
        with pytest.raises(services.OwnPayout):
            services.approve_payout(payout=payout, by=fay, now=clock.now())

    def test_it_takes_the_permission(self, asked, dana, charlie):
        payout = asked(20)
        for verb, about in ((services.approve_payout, {}), (services.reject_payout, {"reason": "No"})):
            with pytest.raises(NotAllowed):
                verb(payout=payout, by=charlie, now=clock.now(), **about)

    def test_a_no_has_a_reason_and_frees_the_earnings(self, asked, fay, earned):
        payout = asked(40)
        with pytest.raises(DomainError):
            services.reject_payout(payout=payout, by=fay, reason=" ", now=clock.now())
        services.reject_payout(payout=payout, by=fay, reason="Ask for the rest too", now=clock.now())
        after = fresh(payout)
        assert (after.status, after.failure_detail, earned()) == ("REJECTED", "Ask for the rest too", 100 * USD)
        with pytest.raises(Conflict):
            services.approve_payout(payout=payout, by=fay, now=clock.now())

    def test_an_owner_takes_it_back_until_it_is_sent(self, agreed, alice, bob, earned, fred):
        payout = agreed(40)
        with pytest.raises(NotAllowed):
            services.cancel_payout(payout=payout, by=bob, now=clock.now())
        services.cancel_payout(payout=payout, by=alice, now=clock.now())
        assert (fresh(payout).status, earned()) == ("CANCELLED", 100 * USD)
        sending = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        with pytest.raises(Conflict):
            services.cancel_payout(payout=sending, by=alice, now=clock.now())

    @pytest.mark.parametrize("_", range(3))
    def test_case_44_approve_and_cancel_race(self, transactional_db, postgresql, asked, alice, fay, fred, earned, _):
        payout = asked(40)
        calls = [
            (services.approve_payout, {"by": fay}),
            (services.cancel_payout, {"by": alice}),
            (services.approve_payout, {"by": fred}),
            (services.reject_payout, {"by": fred, "reason": "No"}),
        ] * 2
        with ThreadPoolExecutor(8) as pool:
            ended = list(pool.map(lambda call: _closing(call[0], payout=payout, now=clock.now(), **call[1]), calls))
        steps = list(payout.events.order_by("id").values_list("to_status", flat=True))
        # Of the yeses and noes one counts; an owner may still take back what was agreed to.
        assert steps in (
            ["REQUESTED", "APPROVED", "CANCELLED"],
            ["REQUESTED", "CANCELLED"],
            ["REQUESTED", "REJECTED"],
        )
        assert ended.count("ok") == len(steps) - 1
        assert earned() == 100 * USD


class TestDestinationChanges:
    def test_case_46_destination_changed_after_approval(self, agreed, place, alice, fred, earned):
        payout = agreed(40)
        other = place("manual", "DE02 1203 0000 0000 2020 51", replaces=payout.destination)
        after = fresh(payout)
        # What was agreed to is what it stays, and it is not sent there either.
        assert after.destination != other
        with pytest.raises(Conflict, match="changed or retired"):
            services.begin_sending(payout=after, by=fred, now=clock.now())
        after = fresh(payout)
        assert (after.status, after.failure_code, earned()) == ("FAILED", "destination_changed", 100 * USD)

    def test_case_46_nor_is_it_agreed_to(self, asked, alice, fay):
        payout = asked(40)
        services.retire_destination(destination=payout.destination, by=alice, now=clock.now())
        with pytest.raises(Conflict, match="out of use"):
            services.approve_payout(payout=payout, by=fay, now=clock.now())

    def test_case_46_a_row_is_never_changed(self, agreed):
        where = agreed(40).destination
        where.detail = "DE02 1203 0000 0000 2020 51"
        with pytest.raises(TypeError):
            where.save()

    def test_nothing_goes_to_a_new_one_at_once(self, place, lab, earned, alice, settings):
        place()
        new = services.add_destination(
            account=lab, kind="manual", detail="DE02 1203 0000 0000 2020 51", by=alice, now=clock.now()
        )
        ask = {"destination": new, "amount": 20 * USD, "by": alice}
        with pytest.raises(services.DestinationTooNew):
            services.request_payout(now=clock.now(), **ask)
        after = clock.now() + timedelta(seconds=settings.PAYOUT_COOLDOWN_SECONDS)
        assert services.request_payout(now=after, **ask).status == "REQUESTED"


class TestStopped:
    """Case 49: what an agreed payout rests on is looked at again before it is sent."""

    def stops(self, payout, fred, code):
        with pytest.raises(Conflict, match="It was stopped"):
            services.begin_sending(payout=payout, by=fred, now=clock.now())
        after = fresh(payout)
        assert (after.status, after.failure_code, after.hold.state) == ("FAILED", code, "released")
        assert not Transfer.objects.filter(kind="payout").exists()
        assert Mail.objects.filter(key__startswith=f"payout:{payout.pk}:FAILED").exists()

    def test_case_49_earnings_frozen_between_approve_and_send(self, agreed, lab, fred):
        payout = agreed(40)
        freeze(balance=services.earnings_of(lab), incoming=False, outgoing=True)
        self.stops(payout, fred, "earnings_frozen")

    def test_case_49_requester_switched_off(self, agreed, alice, bob, lab, fred):
        payout = agreed(40)
        # Somebody is there to be told.
        Membership.objects.filter(user=bob, account=lab).update(role="OWNER")
        User.objects.filter(pk=alice.pk).update(is_active=False)
        self.stops(payout, fred, "requester_inactive")

    def test_case_49_requester_no_owner_any_more(self, agreed, alice, bob, lab, fred):
        payout = agreed(40)
        Membership.objects.filter(user=bob, account=lab).update(role="OWNER")
        Membership.objects.filter(user=alice, account=lab).update(role="MANAGER")
        self.stops(payout, fred, "requester_no_owner")

    def test_case_49_account_closed(self, agreed, lab, fred):
        payout = agreed(40)
        type(lab).objects.filter(pk=lab.pk).update(closed_at=clock.now())
        self.stops(payout, fred, "account_closed")


class TestByHand:
    def test_one_takes_it_over_and_notes_how_it_went(self, agreed, fred, earned, settings):
        settings.PAYOUT_FEE_USD = "0.25"
        payout = agreed(40)
        with pytest.raises(Conflict):
            services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        services.begin_sending(payout=payout, by=fred, now=clock.now())
        done = services.note_payout_sent(payout=payout, reference=" out-1 ", by=fred, now=clock.now())
        assert (done.status, done.reference, done.hold_id) == (PayoutStatus.PAID, "OUT-1", payout.hold_id)
        assert (earned(), fees()) == (60 * USD, USD // 4)
        assert Transfer.objects.get(kind="payout").amount == int(39.75 * USD)
        steps = list(payout.events.order_by("id").values_list("to_status", flat=True))
        assert steps == ["REQUESTED", "APPROVED", "SENDING", "PAID"]

    def test_a_reference_is_booked_once(self, agreed, fred):
        one, two = (services.begin_sending(payout=agreed(20), by=fred, now=clock.now()) for _ in range(2))
        services.note_payout_sent(payout=one, reference="OUT-1", by=fred, now=clock.now())
        with pytest.raises(services.ReferenceUsed):
            services.note_payout_sent(payout=two, reference="out-1", by=fred, now=clock.now())
        assert (fresh(two).status, Transfer.objects.filter(kind="payout").count()) == ("SENDING", 1)

    def test_small_ones_may_be_sent_by_who_agreed_up_to_the_limit_of_a_day(self, agreed, fay, fred, settings):
        settings.MANUAL_PAYMENT_LIMIT_USD = "50"
        services.begin_sending(payout=agreed(40), by=fay, now=clock.now())
        piece = agreed(20)
        with pytest.raises(services.OwnPayout):
            services.begin_sending(payout=piece, by=fay, now=clock.now())
        services.begin_sending(payout=piece, by=fred, now=clock.now())

    def test_of_two_taken_over_at_once_the_limit_holds_when_they_are_noted(self, agreed, fay, settings):
        settings.MANUAL_PAYMENT_LIMIT_USD = "50"
        one, two = agreed(40), agreed(20)
        for payout in (one, two):
            payout.send(by=fay, now=clock.now(), again_at=None, sent_by=fay)
        with pytest.raises(services.OwnPayout):
            services.note_payout_sent(payout=two, reference="OUT-2", by=fay, now=clock.now())

    def test_what_was_not_sent_is_given_up_by_a_second_person(self, agreed, fay, fred, gina, earned, settings):
        settings.MANUAL_PAYMENT_LIMIT_USD = "1"
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        with pytest.raises(services.OwnPayout):
            services.give_up_payout(payout=payout, reason="Wrong name", by=fred, now=clock.now())
        services.give_up_payout(payout=payout, reason="Wrong name", by=gina, now=clock.now())
        assert (fresh(payout).status, earned()) == ("FAILED", 100 * USD)

    def test_case_48_paid_then_returned(self, agreed, fred, earned, settings):
        settings.PAYOUT_FEE_USD = "1"
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        about = {"payout_id": payout.pk, "reason": "Account closed at the bank", "by": fred, "now": clock.now()}
        with pytest.raises(DomainError):
            services.note_payout_returned(total=39 * USD + 1, **about)
        # The bank kept half a dollar.
        services.note_payout_returned(total=int(38.5 * USD), **about)
        after = fresh(payout)
        assert (after.status, after.returned, earned()) == ("RETURNED", int(38.5 * USD), int(98.5 * USD))
        with pytest.raises(Conflict):
            services.note_payout_returned(total=39 * USD, **about)

    def test_what_comes_back_to_a_closed_account_waits_for_a_person(self, agreed, fred, gina, lab, earned, settings):
        settings.PAYOUT_FEE_USD = "1"
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        payout = services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        type(lab).objects.filter(pk=lab.pk).update(closed_at=clock.now())
        about = {"payout_id": payout.pk, "reason": "No such account", "now": clock.now()}
        after = services.note_payout_returned(total=39 * USD, by=gina, **about)
        review = Review.objects.get()
        assert (after.status, earned()) == ("RETURNED", 60 * USD)
        assert (review.code, review.in_suspense) == ("return_to_closed_account", 39 * USD)
        services.resolve(review=review, outcome="returned", resolution="By cheque", by=gina, now=clock.now())
        assert Transfer.objects.filter(key=f"review:{review.pk}:returned", amount=39 * USD).exists()

    def test_who_sent_it_does_not_say_alone_that_it_came_back(self, agreed, fred, gina, earned, settings):
        settings.MANUAL_PAYMENT_LIMIT_USD = "1"
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        about = {"payout_id": payout.pk, "total": 40 * USD, "reason": "Closed at the bank", "now": clock.now()}
        with pytest.raises(services.OwnPayout):
            services.note_payout_returned(by=fred, **about)
        assert earned() == 60 * USD
        services.note_payout_returned(by=gina, **about)
        assert earned() == 100 * USD


class TestDispute:
    def test_case_38_dispute_after_the_owner_was_paid_out(self, agreed, paid, family, fred, lab, earned):
        """Who earned it keeps it: the account whose payment is contested owes what it spent."""
        payment = paid(50, account=family)
        spend(family, 50, to=services.earnings_of(lab))
        payout = services.begin_sending(payout=agreed(150), by=fred, now=clock.now())
        services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        dispute = contest(payment, 50)
        assert (dispute.from_wallet, dispute.from_earnings, dispute.from_debt) == (0, 0, 50 * USD)
        assert (fresh(payout).status, earned()) == ("PAID", 0)
        assert (services.owed_by(family), services.owed_by(lab)) == (50 * USD, 0)

    def test_case_51_dispute_takes_earnings_below_a_held_payout(self, agreed, paid, lab, fred, earned):
        payment = paid(50)
        spend(lab, 50)
        payout = agreed(80)
        dispute = contest(payment, 50)
        # What is promised stays promised: the rest is owed.
        assert (dispute.from_earnings, dispute.from_debt, earned()) == (20 * USD, 30 * USD, 0)
        services.begin_sending(payout=payout, by=fred, now=clock.now())
        done = services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        assert (done.status, services.owed_by(lab)) == ("PAID", 30 * USD)


def test_nothing_leaves_an_end():
    ends = {state for state, steps in Payout.TRANSITIONS.items() if not steps}
    assert ends == {"FAILED", "CANCELLED", "REJECTED", "RETURNED"}
    assert set(Payout.TRANSITIONS) == set(PayoutStatus)


@pytest.mark.parametrize(("fee", "problems"), [("0", 0), ("0.25", 0), ("0.005", 1), ("-1", 1), ("a", 1)])
def test_a_fee_that_no_payout_could_bear_is_refused_at_the_start(settings, fee, problems):
    settings.PAYOUT_FEE_USD = fee
    assert len(check_payout_amounts()) == problems
