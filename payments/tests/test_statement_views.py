"""Statements as people get them: JSON, CSV, PDF, pages, the admin."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group

from accounts.ledger.services import platform_balance
from accounts.models import Account, Membership
from gaas.lib.bars import Bars
from payments.models import Statement, StatementBalance
from payments.services import statements
from payments.services.statements import lines_of, make_month
from payments.statement_pdf import statement_pdf
from payments.tests.months import OCTOBER, moved, of, purse

pytestmark = pytest.mark.django_db

URL = "/api/v1/statements/"


@pytest.fixture
def bank(db):
    return platform_balance(asset="USD", kind="clearing:test")


@pytest.fixture
def made(lab, bank, alice) -> Statement:
    """A statement of the lab's with hostile words in it."""
    lab.name = "=<b>Lab</b> \u202eevil 🤖 مختبر"
    lab.save()
    moved(bank, purse(lab), 12_345_678, OCTOBER, memo="=HYPERLINK(1)", ref="@ref")
    moved(purse(lab), bank, 1, OCTOBER + timedelta(hours=1), memo="-2+3")
    make_month(OCTOBER.date())
    return of(lab)


class TestAPI:
    def test_it_lists_and_shows_exact_integers_beside_decimals(self, api, alice, made, lab, django_assert_num_queries):
        client = api(alice)
        # The log-in 1, permissions 2; statements, balances.
        with django_assert_num_queries(5):
            (found,) = client.get(URL, {"month": "2025-10", "account": lab.pk}).json()["results"]
        assert (found["id"], found["month"], found["sold"]) == (str(made.pk), "2025-10", None)
        assert (found["begins_at"], found["ends_at"]) == ("2025-10-01T00:00:00Z", "2025-11-01T00:00:00Z")
        (row,) = found["money"]
        assert (row["in_usd"], row["in_microusd"], row["closing_microusd"]) == ("12.345678", 12_345_678, 12_345_677)
        shown = client.get(f"{URL}{made.pk}/").json()
        assert [(row["kind"], row["in_microusd"], row["out_microusd"]) for row in shown["movements"]] == [
            ("gift", 12_345_678, 1)
        ]

    def test_the_csv_has_every_movement_and_no_formula(self, api, alice, made):
        answer = api(alice).get(f"{URL}{made.pk}.csv")
        assert answer["Content-Type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
        assert [row["type"] for row in rows] == ["opening", "transfer", "transfer", "closing", "held"]
        assert (rows[1]["memo"], rows[1]["ref"], rows[2]["memo"]) == ("'=HYPERLINK(1)", "'@ref", "'-2+3")
        assert [row["amount_exact"] for row in rows[1:3]] == ["12345678", "-1"]
        assert [row["amount"] for row in rows[1:3]] == ["12.345678", "-0.000001"]
        assert rows[2]["after_exact"] == rows[3]["after_exact"] == "12345677"

    def test_the_pdf_is_one_and_the_same_each_time(self, api, alice, made):
        client = api(alice)
        first, second = client.get(f"{URL}{made.pk}.pdf"), client.get(f"{URL}{made.pk}.pdf")
        assert first["Content-Type"] == "application/pdf"
        assert "attachment" in first["Content-Disposition"]
        assert first.content[:5] == b"%PDF-"
        assert first.content == second.content

    @pytest.mark.parametrize("path", ["{}/", "{}.csv", "{}.pdf"])
    def test_another_ones_is_as_unknown_as_none(self, api, alice, charlie, made, path):
        assert api(alice).get(URL + path.format(made.pk)).status_code == 200
        answers = [api(charlie).get(URL + path.format(pk)) for pk in (made.pk, uuid4())]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["errors"] == answers[1].json()["errors"]
        assert api(charlie).get(URL).json()["results"] == []

    def test_the_books_are_for_staff_with_the_permission(self, api, alice, dana, made):
        platform = Account.platform()
        Membership.objects.create(account=platform, user=alice, role="OWNER")
        assert {row["kind"] for row in api(alice).get(URL).json()["results"]} == {"account"}
        assert {row["kind"] for row in api(dana).get(URL).json()["results"]} == {"account", "books"}
        books = Statement.objects.get(kind="books")
        rows = list(csv.DictReader(io.StringIO(b"".join(api(dana).get(f"{URL}{books.pk}.csv")).decode())))
        assert {row["type"] for row in rows} == {"opening", "closing"}
        assert api(dana).get(f"{URL}{books.pk}.pdf").content[:5] == b"%PDF-"

    @pytest.mark.parametrize("month", ["2025-13", "2025", "0000-01", "2025-1", "x"])
    def test_a_month_is_a_month(self, api, alice, month):
        answer = api(alice).get(URL, {"month": month})
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "month")

    def test_lines_come_page_by_page(self, api, alice, lab, bank, monkeypatch):
        monkeypatch.setattr(statements, "PAGE", 3)
        for number in range(10):
            moved(bank, purse(lab), number + 1, OCTOBER + timedelta(seconds=number))
            moved(purse(lab), bank, 1, OCTOBER + timedelta(seconds=number))
        make_month(OCTOBER.date())
        statement = of(lab)
        lines = list(lines_of(statement, statement.balances.all()))
        assert len({(line.id) for line in lines}) == len(lines) == 20
        assert sum(line.amount for line in lines) == 45
        assert [line.at for line in lines] == sorted(line.at for line in lines)


class TestDocument:
    """The PDF alone: hostile words, and a month too large to print."""

    def statement(self, name: str) -> Statement:
        return Statement(account=Account(name=name), kind="account", month=date(2026, 2, 1))

    @pytest.mark.parametrize(
        "name",
        ["<b>Lab</b>", "A" * 10_000, "مختبر اللغة والشبكات", "שלום", "\u202eevil\x00\x1b[31m", "🤖漢字", "", "\ud800"],
    )
    def test_no_name_breaks_it(self, name):
        document = statement_pdf(self.statement(name), balances=[], movements=[], lines=[], count=0)
        assert document[:5] == b"%PDF-"
        assert len(document) < 200_000

    def test_a_large_month_has_its_sums_alone(self):
        def lines():
            raise AssertionError("nobody reads them")
            yield

        row = StatementBalance(kind="wallet", asset_id="USD", opening=1, came=2**61, went=0, closing=2**61 + 1)
        document = statement_pdf(self.statement("Lab"), balances=[row], movements=[], lines=lines(), count=501)
        assert document[:5] == b"%PDF-"


class TestPages:
    def test_it_shows_months_and_one_of_them_and_escapes_what_people_wrote(self, client, alice, made, lab):
        client.force_login(alice)
        shown = client.get(f"/accounts/{lab.pk}/statements/").content.decode()
        assert "October 2025" in shown
        assert f"{URL}{made.pk}.pdf" in shown
        assert "so far" in shown
        page = client.get(f"/accounts/{lab.pk}/statements/{made.pk}/").content.decode()
        assert "&lt;b&gt;Lab" in page
        assert "<b>Lab" not in page
        assert "=HYPERLINK(1)" in page
        assert 'data-label="How many">2</td>' in page  # two gifts

    def test_an_empty_list_says_when_there_will_be_one(self, client, charlie):
        client.force_login(charlie)
        assert "None yet" in client.get(f"/accounts/{charlie.personal_account.pk}/statements/").content.decode()

    def test_another_accounts_statement_is_not_on_this_ones_page(self, client, alice, made, lab):
        client.force_login(alice)
        assert client.get(f"/accounts/{alice.personal_account.pk}/statements/{made.pk}/").status_code == 404

    def test_staff_who_see_accounts_alone_see_no_money(self, client, made, lab, django_user_model):
        clerk_of("Support", client, django_user_model)
        shown = client.get(f"/accounts/{lab.pk}/statements/").content.decode()
        assert "shown to members" in shown
        assert "October 2025" not in shown


def clerk_of(group: str, client, users) -> None:
    staff = users.objects.create(email=f"{group.lower()}@example.test", is_staff=True)
    staff.groups.add(Group.objects.get(name=group))
    client.force_login(staff)


class TestAdmin:
    def test_finance_sees_statements_and_the_books_by_month(self, client, made, django_user_model):
        clerk_of("Finance", client, django_user_model)
        assert "October 2025" in client.get("/admin/payments/statement/").content.decode()
        assert "12.345677" in client.get(f"/admin/payments/statement/{made.pk}/change/").content.decode()
        books = client.get("/admin/payments/statement/books/").content.decode()
        assert '<th scope="row">October 2025</th><td>12.345678</td><td>0.000001</td>' in books
        assert "so far" in books
        assert books.count('class="gaas-bars"') == 3
        assert re.sub(r"<[^>]+>", "", re.search(r"<h1.*?</h1>", books, re.S)[0]).strip() == "Books by month"
        menu = client.get("/admin/payments/statement/books/").context["sidebar_navigation"]
        assert [item["title"] for group in menu for item in group["items"] if item["active"]] == ["Books by month"]

    def test_it_finds_the_books_where_it_looks(self, client, made, django_user_model):
        clerk_of("Finance", client, django_user_model)
        link = 'href="/admin/payments/statement/books/"'
        # In the menu of every page, and once more on the first.
        assert client.get("/admin/").content.decode().count(link) == 2
        assert link in client.get("/admin/payments/payment/").content.decode()
        client.logout()
        clerk_of("Fleet", client, django_user_model)
        assert link not in client.get("/admin/").content.decode()

    def test_others_do_not(self, client, made, django_user_model):
        clerk_of("Fleet", client, django_user_model)
        assert client.get("/admin/payments/statement/books/").status_code == 403


def test_bars_hang_from_zero():
    bars = [("Jan 2026", 300, "0.0003 USD"), ("Feb 2026", -100, "-0.0001 USD"), ("Mar 2026", 0, "0 USD")]
    svg = Bars("Fees", bars).svg()
    assert 'y="0" width="28" height="75"' in svg
    assert 'y="75" width="28" height="25"' in svg
    assert "Jan 2026: 0.0003 USD" in svg
    assert "<b>" not in Bars("<b>", []).svg()
