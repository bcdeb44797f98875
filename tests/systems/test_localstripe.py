"""Cards through the official library against a Stripe that we did not write: localstripe, and Stripe itself.

What a card form needs (`method: intent`) runs against localstripe, and with STRIPE_TEST_SECRET_KEY, a key of Stripe's
test mode, against Stripe too. Where localstripe is not like Stripe, the platform follows Stripe, and
payments/tests/stripe_peer.py stands in. localstripe

- has no Checkout, no disputes, no transfers, and cannot list by `created`, which `manage.py reconcile` needs;
- ignores idempotency keys: an answer that was lost cannot be tried on it;
- refunds more than came in, as often as it is asked: here that is refused before it is asked;
- tells of intents alone, never of refunds, and tells once, whatever the answer;
- takes no second card after one was declined, and calls a decline an `invalid_request_error`, of status 402;
- refuses `automatic_payment_methods` and knows no `amount_received`, which localstripe_server.py puts right.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import stripe as official

from accounts.ledger import check
from accounts.ledger.models import Transfer
from accounts.services import wallet_balance
from gaas.lib import clock
from payments import services
from payments.models import Payment, Refund, WebhookEvent
from payments.providers import PROVIDERS
from payments.providers.stripe import StripeProvider
from payments.tests.conftest import USD, clerk
from tests.peers import Missing
from tests.systems.conftest import not_run
from tests.systems.localstripe_server import Server, localstripe

pytestmark = [pytest.mark.systems, pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

SECRET = "whsec_of_tests"
# Cards by the names that Stripe has for them; localstripe is told their numbers, which Stripe takes from nobody.
GOOD, DECLINED, ASKS_THE_BANK = "pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"
NUMBERS = {GOOD: "4242424242424242", DECLINED: "4000000000000341", ASKS_THE_BANK: "4000002500003155"}


@dataclass(frozen=True)
class Peer:
    """One Stripe as its payers and its dashboard use it; `server` is localstripe, None for Stripe itself."""

    api: Any
    server: Server | None = None

    def pay(self, payment: Payment, card: str = GOOD) -> Any:
        """Confirm the intent with a card, as a form does. Raises what the payer sees."""
        # Where a payer comes back to who is led elsewhere, Stripe asks; localstripe takes no such thing.
        asked = {"return_url": "https://gaas.example/"}
        if self.server:
            about = {"number": NUMBERS[card], "exp_month": 12, "exp_year": 2034, "cvc": "123"}
            card, asked = self.api.payment_methods.create({"type": "card", "card": about}).id, {}
        self.api.payment_intents.update(payment.provider_id, {"payment_method": card})
        return self.api.payment_intents.confirm(payment.provider_id, asked)

    def intent(self, payment: Payment) -> Any:
        return self.api.payment_intents.retrieve(payment.provider_id)

    def refunded(self, payment: Payment) -> list[int]:
        """Give the cents of each refund of a payment, the smallest first."""
        return sorted(row.amount for row in self.api.refunds.list({"payment_intent": payment.provider_id}).data)


@pytest.fixture
def sound_books(db):
    """Fail the test when it leaves books that do not add up."""
    yield
    assert [problem for result in check.run() for problem in result.problems] == []


def lend(folder):
    try:
        with localstripe(folder) as running:
            yield running
    except Missing as why:
        not_run(f"stripe: {why}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from lend(tmp_path_factory.mktemp("localstripe"))


def set_up(monkeypatch, *, key, server=None):
    base = server.url if server else ""
    about = {"key": key, "webhook_secrets": [SECRET], "return_url": "https://gaas.example/"}
    monkeypatch.setitem(PROVIDERS, "stripe", StripeProvider(**about, base=base))
    client = official.StripeClient(key, base_addresses={"api": base} if base else None)
    return Peer(client.v1, server)


@pytest.fixture
def local(monkeypatch, server):
    """Set the platform up for localstripe."""
    return set_up(monkeypatch, key="sk_test_local", server=server)


@pytest.fixture(params=["localstripe", "stripe"])
def peer(request, monkeypatch):
    """Set the platform up for localstripe, then for Stripe where there is a key of its test mode."""
    if request.param == "localstripe":
        return request.getfixturevalue("local")
    key = os.environ.get("STRIPE_TEST_SECRET_KEY", "")
    if not key:
        pytest.skip("Stripe itself: STRIPE_TEST_SECRET_KEY is not set")
    assert key.split("_")[1:2] == ["test"], "STRIPE_TEST_SECRET_KEY is no key of Stripe's test mode."
    return set_up(monkeypatch, key=key)


@pytest.fixture
def wallet(lab):
    """Tell what the lab's wallet has free, in micro-dollars."""
    return lambda: wallet_balance(lab).available


@pytest.fixture
def begin(lab, alice):
    """Begin a payment and let Stripe know of it."""

    def make(usd=50.0):
        payment = services.start_payment(
            account=lab, provider="stripe", amount=int(usd * USD), by=alice, now=clock.now(), method="intent"
        )
        return look(payment)

    return make


@pytest.fixture
def paid(begin, peer):
    """A payment of 50 dollars that came in."""
    payment = begin()
    peer.pay(payment)
    return look(payment, hours=1)


@pytest.fixture
def send_back(db):
    """Ask for a refund and let the sweep send it."""
    fay = clerk("Fay")

    def make(payment, usd):
        refund = services.request_refund(
            payment_id=payment.pk, amount=usd * USD, reason="Paid twice", by=fay, now=clock.now()
        )
        for _ in range(2):
            services.sweep(now=later(seconds=1))
        return Refund.objects.get(pk=refund.pk)

    return make


def later(**delta):
    return clock.now() + timedelta(**delta)


def look(payment, hours=0):
    """Let the poller look."""
    services.follow(payment_id=payment.pk, now=later(hours=hours))
    return Payment.objects.get(pk=payment.pk)


def topups():
    return Transfer.objects.filter(kind="topup").count()


class TestPay:
    def test_a_card_pays_and_is_credited_once(self, peer, begin, wallet):
        payment = begin(12.34)
        asked = peer.intent(payment)
        assert (asked.amount, asked.currency, asked.metadata["payment"]) == (1234, "usd", str(payment.pk))
        assert (payment.status, payment.instructions["client_secret"]) == ("PENDING", asked.client_secret)
        assert (look(payment, hours=1).status, wallet()) == ("PENDING", 0)
        assert peer.pay(payment).status == "succeeded"
        assert look(payment, hours=2).status == "SUCCEEDED"
        look(payment, hours=3)
        services.sweep(now=later(hours=4))
        assert (wallet(), topups()) == (12_340_000, 1)

    def test_one_that_is_declined_waits_for_another_card_until_it_is_given_up(self, peer, begin, alice, wallet):
        payment = begin()
        with pytest.raises(official.StripeError) as declined:
            peer.pay(payment, DECLINED)
        assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
        assert (look(payment, hours=1).status, wallet()) == ("PENDING", 0)
        services.cancel_payment(payment=payment, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        assert (Payment.objects.get().status, peer.intent(payment).status) == ("CANCELLED", "canceled")
        with pytest.raises(official.InvalidRequestError):
            peer.pay(payment)
        assert (look(payment, hours=2).status, wallet()) == ("CANCELLED", 0)

    def test_one_that_is_paid_and_given_up_at_once_is_credited(self, peer, begin, alice, wallet):
        payment = begin()
        peer.pay(payment)
        services.cancel_payment(payment=payment, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        assert (Payment.objects.get().status, wallet(), topups()) == ("SUCCEEDED", 50 * USD, 1)


class TestRefund:
    def test_a_part_and_then_the_rest(self, peer, paid, send_back, wallet):
        part = send_back(paid, 20)
        assert (part.status, Payment.objects.get().status, wallet()) == ("SUCCEEDED", "PARTIALLY_REFUNDED", 30 * USD)
        found = peer.api.refunds.retrieve(part.provider_id)
        assert (found.amount, found.metadata["refund"]) == (2000, str(part.pk))
        rest = send_back(paid, 30)
        assert (rest.status, Payment.objects.get().status, wallet()) == ("SUCCEEDED", "REFUNDED", 0)
        assert peer.refunded(paid) == [2000, 3000]

    def test_more_than_is_left_is_refused_before_stripe_is_asked(self, peer, paid, send_back, wallet):
        send_back(paid, 20)
        with pytest.raises(services.RefundTooLarge):
            send_back(paid, 31)
        assert (peer.refunded(paid), wallet()) == ([2000], 30 * USD)

    def test_one_from_the_dashboard_is_booked_once(self, peer, paid, wallet):
        made = peer.api.refunds.create({"payment_intent": paid.provider_id, "amount": 2000})
        for number in range(2):
            about = {"object": "charge", "id": made.charge, "payment_intent": paid.provider_id}
            told = {"id": f"evt_{number}", "type": "charge.refunded", "data": {"object": about}}
            services.keep_event(event=told, now=clock.now())
            services.sweep(now=later(seconds=1))
        assert (Refund.objects.get().provider_id, wallet()) == (made.id, 30 * USD)


class TestBank:
    """A card whose bank asks the payer first; at Stripe itself only a browser can answer."""

    @pytest.mark.parametrize(("says_yes", "status", "credited"), [(True, "SUCCEEDED", 50), (False, "PENDING", 0)])
    def test_it_waits_for_the_answer(self, local, server, begin, wallet, says_yes, status, credited):
        payment = begin()
        assert local.pay(payment, ASKS_THE_BANK).status == "requires_action"
        assert (look(payment, hours=1).status, wallet()) == ("PENDING", 0)
        server.authenticate(payment.provider_id, payment.instructions["client_secret"], success=says_yes)
        assert (look(payment, hours=2).status, wallet()) == (status, credited * USD)


class TestWebhook:
    @pytest.fixture
    def server(self, tmp_path):
        """One of its own: another would still tell of what earlier tests did."""
        yield from lend(tmp_path)

    def test_an_event_signed_by_others_credits_and_a_forged_one_is_refused(
        self, live_server, local, server, begin, wallet
    ):
        to = f"{live_server.url}/api/v1/webhooks/stripe/"
        server.send_events("forged", to=to, secret="whsec_forged", kinds=["payment_intent.payment_failed"])
        server.send_events("ours", to=to, secret=SECRET, kinds=["payment_intent.succeeded"])
        declined, payment = begin(), begin()
        with pytest.raises(official.StripeError):
            local.pay(declined, DECLINED)
        # One after the other: on SQLite in memory the threads of a live server share one connection.
        await_line(server, '"payment_intent.payment_failed" failed with response code 400')
        assert not WebhookEvent.objects.exists()
        local.pay(payment)
        await_line(server, '"payment_intent.succeeded" successfully delivered')
        kept = WebhookEvent.objects.get()
        assert (kept.kind, kept.about) == ("payment_intent.succeeded", payment.provider_id)
        # So soon the poller asks about none: what happens is the event's doing.
        services.sweep(now=later(seconds=1))
        payment.refresh_from_db()
        assert (payment.status, wallet(), topups()) == ("SUCCEEDED", 50 * USD, 1)
        look(payment, hours=1)
        assert (wallet(), topups()) == (50 * USD, 1)


def await_line(server, line, seconds=120):
    """Wait until localstripe has noted how a delivery went."""
    deadline = time.monotonic() + seconds
    while line not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()[-2000:]
        time.sleep(0.05)
