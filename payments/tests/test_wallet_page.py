from __future__ import annotations

import re
from threading import Barrier, Thread

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.ledger.services import Leg, capture, hold, platform_balance
from accounts.models import Account
from accounts.pages import tabs
from accounts.services import fund, wallet_balance
from gaas.lib import clock
from payments import services
from payments.models import Payment
from payments.providers import PROVIDERS, Seen
from payments.providers.onchain import Chain, OnchainProvider
from payments.tests.conftest import USD

pytestmark = pytest.mark.django_db
OURS = "0x" + "ab" * 20


def url(account):
    return f"/accounts/{account.pk}/wallet/"


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def told(page):
    """Give what a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split())


@pytest.fixture
def web(client: Client):
    def as_user(user):
        client.force_login(user)
        return client

    return as_user


@pytest.fixture(autouse=True)
def _transfers(settings):
    settings.MANUAL_PAYMENT_TO = "Example Bank\nDE00 1234"


def pay(verb="pay_by_transfer", amount="20", key="k1"):
    return {"do": verb, "of": "", "amount": amount, "key": key}


class TestTabs:
    def test_its_tab_is_current_on_its_own_page_alone(self, web, alice):
        account = alice.personal_account
        current = f'<a href="{url(account)}" aria-current="page">Wallet</a>'
        assert current in text(web(alice).get(url(account)))
        assert current not in text(web(alice).get(f"/accounts/{account.pk}/"))

    def test_one_tab_is_registered_once(self):
        with pytest.raises(ValueError):
            tabs.register("account_wallet", "Wallet")


class TestWhatIsThere:
    def test_it_tells_what_is_held_and_for_what(self, web, alice, lab, paid):
        paid(50)
        hold(balance=wallet_balance(lab), amount=3 * USD, key="h", purpose="refund", ref=str(lab.pk))
        page = told(text(web(alice).get(url(lab))))
        assert "Money to spend 47.00 USD Held 3.00 USD" in page
        assert "A refund since" in page

    def test_a_capture_is_one_line_whoever_was_paid(self, web, alice, lab, paid):
        paid(50)
        made = hold(balance=wallet_balance(lab), amount=3 * USD, key="h", purpose="task", ref=str(lab.pk))
        legs = [
            Leg(credit=platform_balance(asset="USD", kind=kind), amount=USD, kind="fee", key=kind)
            for kind in ("fees", "promo")
        ]
        capture(hold_id=made.pk, legs=legs, final=True)
        page = told(text(web(alice).get(url(lab))))
        assert "A task -2.00 USD" in page
        assert page.count("A task") == 1

    def test_what_others_gave_names_those_whom_one_may_see(self, web, pat, family, child, paid):
        family.pays_from = "SELF"
        paid(50, account=family)
        Account.objects.filter(pk=child.pk).update(pays_from="SELF")
        fund(account=family, to=child, asset="USD", amount=2 * USD, by=pat, key="k")
        assert "Given to Child -2.00 USD" in told(text(web(pat).get(url(family))))
        member = child.memberships.get().user
        assert "Given by another account +2.00 USD" in told(text(web(member).get(url(child))))

    def test_its_history_goes_on_where_the_page_before_ended(self, web, alice, lab, paid):
        for number in range(27):
            paid(1, reference=f"R-{number}")
        page = text(web(alice).get(url(lab)))
        older = re.search(r'href="\?after=([^"]+)"', page)[1]
        paid(1, reference="later")
        assert text(web(alice).get(url(lab), {"after": older})).count("Paid in") == 2
        assert "Nothing older" in text(web(alice).get(url(lab), {"after": "00000000-0000-7000-8000-000000000000"}))

    def test_staff_who_see_accounts_alone_see_no_movements(self, web, dana, lab, paid):
        payment = paid(50)
        dana.user_permissions.remove(*dana.user_permissions.filter(codename="view_payment"))
        assert "What moved is shown to members" in text(web(dana).get(url(lab)))
        assert web(dana).get(f"{url(lab)}payments/{payment.pk}/").status_code == 404

    def test_a_payment_of_another_account_is_not_there(self, web, alice, lab, paid):
        payment = paid(50)
        assert web(alice).get(f"{url(alice.personal_account)}payments/{payment.pk}/").status_code == 404

    def test_looking_costs_no_more_with_more_rows(self, web, alice, lab, paid):
        def queries(rows):
            for number in range(rows):
                paid(1, reference=f"{rows}-{number}")
            page = web(alice)
            with CaptureQueriesContext(connection) as seen:
                page.get(url(lab))
            return len(seen)

        assert queries(2) == queries(12)


class TestPayIn:
    def test_a_transfer_is_told_where_to_go_and_under_which_reference(self, web, alice, lab):
        answer = web(alice).post(url(lab), pay())
        payment = Payment.objects.get()
        assert answer["Location"] == f"{url(lab)}payments/{payment.pk}/"
        page = told(text(web(alice).get(answer["Location"])))
        assert "Example Bank DE00 1234" in page
        assert payment.instructions["reference"] in page
        assert "Staff book it when they see it come in." in page

    def test_sent_twice_it_is_one(self, web, alice, lab):
        first, again = (web(alice).post(url(lab), pay()) for _ in range(2))
        assert first["Location"] == again["Location"]
        assert Payment.objects.count() == 1

    def test_the_same_form_with_another_amount_is_refused(self, web, alice, lab):
        web(alice).post(url(lab), pay())
        answer = web(alice).post(url(lab), pay(amount="21"))
        assert "was sent before with something else" in text(answer, 409)
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("amount", ["0", "-1", "1e3", "NaN", "1.0000001", "0.5", "1000000", "1_0", "9" * 30, ""])
    def test_bad_amounts_are_refused_beside_their_field(self, web, alice, lab, amount):
        page = text(web(alice).post(url(lab), pay(amount=amount)), 400)
        assert 'aria-invalid="true"' in page
        assert not Payment.objects.exists()

    def test_less_than_an_owner_is_refused(self, web, bob, lab):
        assert "role of an owner" in text(web(bob).post(url(lab), pay()), 403)
        assert "pay_by_transfer" not in text(web(bob).get(url(lab)))

    def test_ways_that_are_not_set_up_are_not_offered(self, web, alice, lab, settings, bank):
        page = text(web(alice).get(url(lab)))
        assert ("pay_by_card" in page, "pay_by_chain" in page, "pay_by_transfer" in page) == (True, False, True)
        del PROVIDERS["stripe"]
        settings.MANUAL_PAYMENT_TO = ""
        assert "set up no way" in text(web(alice).get(url(lab)))
        assert "not set up here" in text(web(alice).post(url(lab), pay("pay_by_card")), 400)

    def test_an_account_whose_parent_pays_is_led_there(self, web, pat, family, child):
        page = text(web(pat).get(url(child)))
        assert f'<a href="{url(family)}">Family</a>' in page

    def test_a_payment_is_given_up(self, web, alice, lab):
        web(alice).post(url(lab), pay())
        payment = Payment.objects.get()
        web(alice).post(url(lab), {"do": "cancel_payment", "of": str(payment.pk)})
        payment.refresh_from_db()
        assert payment.status == "CANCELLED"
        assert "You gave it up" in text(web(alice).get(f"{url(lab)}payments/"))


class TestByCard:
    def test_the_payer_is_led_to_the_banks_page(self, web, alice, lab, bank):
        answer = web(alice).post(url(lab), pay("pay_by_card"))
        page = text(web(alice).get(answer["Location"]))
        assert '<meta http-equiv="refresh" content="0; url=https://bank.example/pay">' in page
        # Whoever comes back from there is not sent away again.
        back = text(web(alice).get(answer["Location"].removesuffix("?go")))
        assert "url=https://bank.example" not in back
        assert "Waiting for the bank" in back

    def test_a_bank_that_is_silent_is_asked_again(self, web, alice, lab, bank):
        bank.is_down = True
        answer = web(alice).post(url(lab), pay("pay_by_card"))
        assert '<meta http-equiv="refresh" content="3">' in text(web(alice).get(answer["Location"]))

    def test_a_second_click_asks_the_bank_nothing(self, web, alice, lab, bank):
        for _ in range(2):
            web(alice).post(url(lab), pay("pay_by_card"))
        assert [what for what, _ in bank.asked] == ["begin"]

    def test_it_is_in_the_wallet_with_the_banks_word_alone(self, web, alice, lab, bank):
        web(alice).post(url(lab), pay("pay_by_card"))
        payment = Payment.objects.get()
        services.apply(payment_id=payment.pk, seen=Seen("succeeded", 20 * USD), now=clock.now())
        page = text(web(alice).get(f"{url(lab)}payments/{payment.pk}/"))
        assert "It is in the wallet." in page
        assert "data-live" not in page


class TestOnChain:
    @pytest.fixture
    def chain(self, monkeypatch):
        terms = Chain(
            chain_id=5,
            receiver=OURS,
            token="0x" + "cd" * 20,
            symbol="TUSD",
            decimals=6,
            usd_micro=USD,
            confirmations=12,
        )
        provider = OnchainProvider(terms, [])
        monkeypatch.setattr(provider.nodes, "agreed", lambda *_: "0x5")
        monkeypatch.setattr(provider.nodes, "height", lambda: 7)
        monkeypatch.setitem(PROVIDERS, "onchain", provider)
        return provider

    def test_it_shows_address_units_and_a_picture_of_both(self, web, alice, lab, chain):
        answer = web(alice).post(url(lab), pay("pay_by_chain"))
        payment = Payment.objects.get()
        page = text(web(alice).get(answer["Location"]))
        assert f"<code>{OURS}</code>" in page
        assert f"<code>{payment.chain.units}</code>" in page
        assert 'src="data:image/svg+xml;base64,' in page
        assert "shows none of this very amount yet" in page

    def test_it_counts_confirmations(self, web, alice, lab, chain):
        web(alice).post(url(lab), pay("pay_by_chain"))
        payment = Payment.objects.get()
        services.chain.note_look(payment, Seen("pending", facts={"confirmations": 4}), clock.now())
        page = text(web(alice).get(f"{url(lab)}payments/{payment.pk}/"))
        assert "4 of 12 confirmations" in page
        assert 'data-live="PENDING"' in page

    def test_what_is_no_hash_is_refused(self, web, alice, lab, chain):
        answer = web(alice).post(url(lab), pay("pay_by_chain"))
        page = web(alice).post(answer["Location"], {"do": "name_transaction", "of": "", "hash": "0x12"})
        assert "64 hexadecimal digits" in text(page, 400)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_two_clicks_at_once_make_one_payment(alice, lab):
    barrier, seen = Barrier(4), []

    def click():
        client = Client()
        client.force_login(alice)
        barrier.wait()
        seen.append(client.post(url(lab), pay())["Location"])
        connection.close()

    threads = [Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert Payment.objects.count() == 1
