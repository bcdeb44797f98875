"""Earnings: pending until they are old enough, then moved once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from accounts.ledger.models import Transfer
from accounts.ledger.services import freeze, open_balance, platform_balance, transfer
from gaas.lib import clock
from payments import services
from payments.services.earnings import due_balances
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

WEEK = timedelta(days=7, minutes=1)


def _closing(verb, **about):
    """Call a verb in a thread of its own, which leaves no connection behind."""
    try:
        return verb(**about)
    finally:
        connection.close()


@pytest.fixture
def pending(lab):
    return open_balance(asset="USD", kind="earnings_pending", owner_key=lab.owner_key)


@pytest.fixture
def free(lab):
    def read():
        found = open_balance(asset="USD", kind="earnings", owner_key=lab.owner_key)
        found.refresh_from_db()
        return found.available

    return read


@pytest.fixture
def earn(pending):
    def make(usd, key):
        transfer(
            key=key,
            kind="earning",
            debit=platform_balance(asset="USD", kind="clearing:test"),
            credit=pending,
            amount=usd * USD,
        )

    return make


class TestMature:
    def test_nothing_before_its_time(self, earn, free):
        earn(10, "a")
        assert services.mature_all(now=clock.now()) == 0
        assert free() == 0

    def test_then_all_of_it_once(self, earn, free, pending):
        earn(10, "a")
        earn(5, "b")
        for extra in range(3):
            services.mature_all(now=clock.now() + WEEK + timedelta(hours=extra))
        pending.refresh_from_db()
        assert (free(), pending.posted) == (15 * USD, 0)

    def test_what_is_younger_waits_for_its_own_time(self, earn, free, pending):
        earn(10, "a")
        between = clock.now() + timedelta(seconds=1)
        time.sleep(1.1)
        earn(7, "b")
        services.mature_all(now=between + timedelta(days=7))
        assert free() == 10 * USD
        services.mature_all(now=clock.now() + WEEK)
        assert free() == 17 * USD

    def test_two_at_once_move_it_once(self, transactional_db, postgresql, earn, free, pending):
        earn(10, "a")
        earn(10, "b")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _closing(services.mature_all, now=clock.now() + WEEK), range(8)))
        assert free() == 20 * USD

    def test_what_was_taken_back_meanwhile_does_not_mature(self, earn, free, pending):
        earn(10, "a")
        fees = platform_balance(asset="USD", kind="fees")
        transfer(key="back", kind="correction", debit=pending, credit=fees, amount=4 * USD)
        services.mature_all(now=clock.now() + WEEK)
        assert free() == 6 * USD

    def test_only_owners_with_something_due_are_touched(self, earn, pending, child):
        other = open_balance(asset="USD", kind="earnings_pending", owner_key=child.owner_key)
        earn(10, "a")
        fees = platform_balance(asset="USD", kind="fees")
        transfer(key="b", kind="earning", debit=fees, credit=other, amount=5)
        first, second = (Transfer.objects.get(key=key).created_at for key in "ab")
        between = first + (second - first) / 2
        assert list(due_balances(now=between)) == []
        assert list(due_balances(now=between + timedelta(days=7))) == [pending]
        assert set(due_balances(now=between + WEEK)) == {pending, other}

    def test_one_frozen_owner_does_not_keep_others_waiting(self, earn, free, lab, child):
        first = open_balance(
            asset="USD", kind="earnings_pending", owner_key="acct:00000000-0000-0000-0000-000000000000"
        )
        transfer(
            key="other",
            kind="earning",
            debit=platform_balance(asset="USD", kind="fees"),
            credit=first,
            amount=5,
        )
        blocked = open_balance(asset="USD", kind="earnings", owner_key=first.owner_key)
        freeze(balance=blocked, incoming=True, outgoing=True)
        earn(3, "mine")
        assert services.mature_all(now=clock.now() + WEEK) == 1
        assert free() == 3 * USD
