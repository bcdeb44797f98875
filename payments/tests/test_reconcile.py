"""What a provider says against what the books say, after a restore above all."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from gaas.lib import clock
from payments import services
from payments.models import Payment, Refund
from payments.tests.conftest import USD

pytestmark = pytest.mark.django_db


def later(**delta):
    return clock.now() + timedelta(**delta)


def compared():
    [found] = services.reconcile(since=later(days=-30), now=later(hours=1))
    return found


@pytest.fixture
def pay(stripe, lab, alice):
    """Have an amount paid at Stripe, and the books told."""

    def make(usd=50):
        payment = services.start_payment(account=lab, provider="stripe", amount=usd * USD, by=alice, now=clock.now())
        services.follow(payment_id=payment.pk, now=clock.now())
        payment.refresh_from_db()
        stripe.pay(payment.provider_id)
        services.follow(payment_id=payment.pk, now=later(hours=1))
        return Payment.objects.get(pk=payment.pk)

    return make


def send_back(payment, by, usd=10):
    refund = services.request_refund(payment_id=payment.pk, amount=usd * USD, reason="Too much", by=by, now=clock.now())
    services.send_refund(refund_id=refund.pk, now=later(minutes=1))
    return Refund.objects.get(pk=refund.pk)


class TestReconcile:
    def test_books_that_agree_have_no_difference(self, pay, fay, stripe):
        send_back(pay(), fay)
        stripe.pay(stripe._intent(700, "usd", {})["id"])  # of somebody else on the same account of Stripe's
        found = compared()
        assert (found.differences, found.listed, found.foreign) == ([], 3, 1)

    def test_case_64_restore_of_an_older_dump_is_flagged(self, pay, fay, stripe):
        """The books go back to where they stood; the provider does not."""
        kept = pay(20)
        with transaction.atomic():
            older = transaction.savepoint()
            lost = pay(50)
            returned = send_back(kept, fay)
            transaction.savepoint_rollback(older)
        assert not Payment.objects.filter(pk=lost.pk).exists()
        sentences = compared().differences
        assert len(sentences) == 2
        assert any("payment of 50.000000 USD" in said and str(lost.pk) in said for said in sentences)
        assert any("refund of 10.000000 USD" in said and str(returned.pk) in said for said in sentences)
        _an_hour_older(stripe)
        out = StringIO()
        with pytest.raises(CommandError, match="2 differences"):
            call_command("reconcile", stdout=out)
        assert str(lost.pk) in out.getvalue()

    def test_what_came_in_and_was_never_told_is_flagged(self, stripe, lab, alice):
        payment = services.start_payment(account=lab, provider="stripe", amount=30 * USD, by=alice, now=clock.now())
        services.follow(payment_id=payment.pk, now=clock.now())
        payment.refresh_from_db()
        stripe.pay(payment.provider_id)
        assert [f"{payment.pk}" in said and "PENDING" in said for said in compared().differences] == [True]

    def test_what_the_books_alone_know_is_flagged(self, pay, stripe):
        payment = pay()
        stripe.things.clear()
        assert [f"The payment {payment.pk}" in said for said in compared().differences] == [True]

    def test_what_moved_a_moment_ago_is_left_alone(self, stripe, lab, alice, pay):
        pay()
        [found] = services.reconcile(since=later(days=-30), now=clock.now())
        assert (found.listed, found.differences) == (0, [])

    def test_a_provider_that_is_silent_leaves_it_unsaid(self, stripe):
        stripe.is_down = True
        with pytest.raises(CommandError, match="Nothing can be said") as ended:
            call_command("reconcile")
        assert ended.value.returncode == 2


def _an_hour_older(stripe):
    for thing in stripe.things.values():
        thing["created"] -= 3600


class TestCopies:
    """The command of docs/operator.md, on a database of its own that is written to meanwhile."""

    def test_case_64_a_copy_made_during_wal_is_whole(self, tmp_path):
        path, copy = tmp_path / "gaas.sqlite3", tmp_path / "copy.sqlite3"
        writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.executescript("CREATE TABLE one (n); CREATE TABLE two (n);")
        over = threading.Event()

        def write():
            number = 0
            while not over.is_set():
                number += 1
                # A transfer of two sides: a copy has both or none.
                both = f"INSERT INTO one VALUES ({number}); INSERT INTO two VALUES ({number});"
                writer.executescript(f"BEGIN; {both} COMMIT;")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            reader = sqlite3.connect(path)
            while reader.execute("SELECT COUNT(*) FROM two").fetchone()[0] < 50:
                pass
            reader.execute("VACUUM INTO ?", [str(copy)])
        finally:
            over.set()
            thread.join()
        restored = sqlite3.connect(copy)
        sums = restored.execute("SELECT (SELECT COUNT(*) FROM one), (SELECT COUNT(*) FROM two)").fetchone()
        assert sums[0] == sums[1] >= 50
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # A plain copy of the file, which misses all that is in the log beside it, is none.
        plain = tmp_path / "plain.sqlite3"
        shutil.copy(path, plain)
        assert sqlite3.connect(plain).execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
