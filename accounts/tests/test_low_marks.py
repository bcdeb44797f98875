"""A letter when what an account can spend falls under its mark, once a crossing."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts import services
from accounts.ledger.services import hold, platform_balance, release, transfer
from accounts.models import LowMark
from accounts.services.low_marks import warn_low
from accounts.tests.conftest import HOUR, USD
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import NotAllowed
from gaas.outbox.models import Mail

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def pay_in(account, micro):
    source = platform_balance(asset="USD", kind="clearing:test")
    wallet = services.wallet_balance(account)
    transfer(key=str(uuid4()), kind="topup", debit=source, credit=wallet, amount=micro)


def keep(account, micro):
    return hold(balance=services.wallet_balance(account), amount=micro, key=str(uuid4()), purpose="test")


def letters():
    return list(Mail.objects.filter(key__startswith="low:").order_by("pk").values_list("to", "subject"))


def look():
    return warn_low(now=clock.now())


class TestWarnLow:
    def test_it_comes_once_a_crossing(self, lab, alice):
        pay_in(lab, 20 * USD)
        assert look() == 0
        held = keep(lab, 16 * USD)
        assert (look(), look()) == (1, 0)
        assert letters() == [(alice.email, "Lab runs low: 4.000000 USD are left")]
        release(hold_id=held.pk)
        assert look() == 0
        keep(lab, 17 * USD)
        assert look() == 1
        assert len(letters()) == 2

    def test_a_wallet_that_never_had_anything_is_not_low(self, lab):
        services.wallet_balance(lab)
        assert look() == 0

    def test_hours_run_low_too(self, alice):
        account = alice.personal_account
        hold(balance=services.hours_balance(account), amount=9 * HOUR + 1, key="h", purpose="test")
        assert look() == 1
        assert "0.999999 h are left" in letters()[0][1]

    def test_each_account_says_when(self, lab, alice, bob):
        pay_in(lab, 20 * USD)
        services.set_low_mark(account=lab, asset="USD", below=30 * USD, by=alice)
        assert look() == 1
        assert services.marks_of(lab) == {"USD": 30 * USD, "GPU": HOUR}
        assert AuditEvent.objects.filter(action="account.set_low_mark").count() == 1
        with pytest.raises(NotAllowed):
            services.set_low_mark(account=lab, asset="USD", below=0, by=bob)

    def test_nought_tells_nobody(self, lab, alice, settings):
        services.set_low_mark(account=lab, asset="USD", below=0, by=alice)
        pay_in(lab, USD)
        keep(lab, USD)
        assert look() == 0
        settings.HOURS_LOW = "0"
        assert LowMark.objects.filter(is_low=True).count() == 0

    def test_who_pays_from_above_is_not_told(self, pat, family, child):
        pay_in(child, USD)
        assert look() == 0

    def test_the_page_says_and_sets_it(self, client, alice, lab):
        client.force_login(alice)
        url = f"/accounts/{lab.pk}/"
        assert "less than 5.00 USD or 1 GPU-hours" in client.get(url).content.decode()
        client.post(url, {"do": "set_low_mark", "of": "", "amount": "12.5", "asset": "USD"})
        page = client.get(url).content.decode()
        assert "less than 12.50 USD" in page
        assert "Files kept" in page


class TestOverHTTP:
    def test_they_are_read_and_set(self, api, lab, alice):
        url = f"/api/v1/accounts/{lab.pk}/low-marks/"
        usd = {"asset": "USD", "hours": None, "gpu_ms": None, "amount_usd": "5.000000", "amount_microusd": 5 * USD}
        hours = {"asset": "GPU", "hours": "1.000000", "gpu_ms": HOUR, "amount_usd": None, "amount_microusd": None}
        usual = {"is_own": False, "is_low": False}
        assert api(alice).get(url).json() == [hours | usual, usd | usual]
        made = api(alice).post(url, {"amount_usd": "12.5"}, format="json")
        assert (made.status_code, made.json()["amount_microusd"], made.json()["is_own"]) == (201, 12_500_000, True)
        pay_in(lab, 12 * USD)
        look()
        assert [row["is_low"] for row in api(alice).get(url).json()] == [False, True]

    @pytest.mark.parametrize(
        ("body", "attr"),
        [
            ({}, "hours"),
            ({"hours": "1", "amount_usd": "1"}, "hours"),
            ({"hours": "-1"}, "hours"),
            ({"hours": 1.5}, "hours"),
        ],
    )
    def test_what_is_no_mark(self, api, lab, alice, body, attr):
        answer = api(alice).post(f"/api/v1/accounts/{lab.pk}/low-marks/", body, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
