"""What `make bench-month` says of statements: nothing of right ones, and what is wrong of others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from accounts.ledger.services import platform_balance
from accounts.models import User
from bench.month_statements import ON_DOCUMENT_ROW, faults_of_statements, reads_documents
from payments.models import Statement, StatementBalance
from payments.services import statements
from payments.services.statements import make_month
from payments.tests.months import NOVEMBER, OCTOBER, moved, purse

pytestmark = pytest.mark.django_db


@pytest.fixture
def faults(lab):
    """Have two months in which something moved, and ask what is wrong with their statements."""
    bank, grant = platform_balance(asset="USD", kind="clearing:test"), platform_balance(asset="GPU", kind="grant")
    moved(bank, purse(lab), 12_345_678, OCTOBER)
    moved(purse(lab), platform_balance(asset="USD", kind="fees"), 1, OCTOBER + timedelta(hours=1), kind="fee")
    moved(grant, purse(lab, "hours", "GPU"), 3_600_001, NOVEMBER, kind="grant")
    moved(bank, purse(lab), 7, NOVEMBER)
    for month in (OCTOBER, NOVEMBER):
        make_month(month.date())
    root = User.objects.create_superuser(email="root@books.example")

    def ask():
        return list(faults_of_statements(root, documents=reads_documents()))

    return ask


def test_right_ones_have_none(faults):
    assert faults() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"came": F("came") + 1, "closing": F("closing") + 1},
        {"opening": F("opening") + 1, "closing": F("closing") + 1},
        {"arrivals": 0},
    ],
)
def test_a_row_that_is_off_by_one_is_told(faults, wrong):
    row = StatementBalance.objects.filter(statement__kind="account", kind="wallet").earliest("statement__month")
    StatementBalance.objects.filter(pk=row.pk).update(**wrong)
    assert faults()


def test_a_statement_that_is_missing_is_told(faults):
    StatementBalance.objects.filter(statement__kind="account", kind="hours").delete()
    assert any("stands on no statement" in fault for fault in faults())


def test_books_that_are_off_are_told(faults):
    row = StatementBalance.objects.filter(statement=Statement.objects.filter(kind="books").latest("month")).first()
    StatementBalance.objects.filter(pk=row.pk).update(opening=F("opening") + 1, closing=F("closing") + 1)
    assert any("books" in fault for fault in faults())


def test_rows_that_people_do_not_get_are_told(faults, monkeypatch):
    """The page, the document and the CSV each lose their last row."""
    whole = statements.lines_of
    for where in ("payments.api.statements", "payments.pages.statements"):
        monkeypatch.setattr(f"{where}.lines_of", lambda *about: list(whole(*about))[:-1])
    told = "\n".join(faults())
    assert "its CSV has" in told


def test_the_rows_of_a_document_are_found():
    text = "  2025-10-01 00:00:00   Wallet   Gift   ref-12   -12.345678\n Wallet, USD  0.000000  12.345678\n"
    assert ON_DOCUMENT_ROW.findall(text) == [("2025-10-01 00:00:00", "-12.345678")]
