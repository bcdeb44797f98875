"""Usage reports: who sees what of it, and that it adds up to what the ledger captured."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db.models import Sum
from django.test import Client

from accounts.choices import Role
from accounts.ledger.models import Transfer
from accounts.models import Account, Membership
from accounts.services import grant_hours
from gaas.lib import clock
from gpus.models import GPU
from payments.models import Charge
from payments.pages.reports import months
from payments.services.reports import UsageAsked, usage_rows, usage_totals
from payments.tests.test_charge import a_charge
from tasks import services as tasks
from tasks.models import Attempt
from tasks.tests.rig import HOUR, Rig, an_approved_task, has_run_for, top_up

pytestmark = pytest.mark.django_db

URL = "/api/v1/reports/usage/"
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def used(account: Account, user=None, *, at: datetime = OCTOBER, **fields) -> Charge:
    charge = a_charge(account_id=account.pk, user_id=str(user.pk if user else uuid4()), **fields)
    Charge.objects.filter(pk=charge.pk).update(at=at)
    return charge


def ask(client, status: int = 200, **query):
    query = {"from": "2026-10-01", "to": "2026-11-01", **query}
    answer = client.get(URL, query)
    assert answer.status_code == status, answer.content
    return answer.json()


def table(client, **query) -> list[dict]:
    answer = client.get(URL, {"from": "2026-10-01", "to": "2026-11-01", "format": "csv", **query})
    assert answer.status_code == 200, b"".join(answer)
    return list(csv.DictReader(io.StringIO(b"".join(answer).decode())))


class TestSums:
    def test_it_groups_and_names_and_keeps_exact_integers_beside_decimals(self, api, lab, alice, bob):
        one = uuid4()
        used(lab, alice, task_id=one, gpu_ms=1_800_001, charge=500_001, fee=1, owner_part=500_000)
        used(lab, alice, task_id=one, gpu_ms=1_800_000, charge=7, fee=0, owner_part=7)
        used(lab, bob, funding="quota", gpu_ms=HOUR, charge=0, fee=0, owner_part=0, cost_code="A-7")
        report = ask(api(alice), group_by="user,month")
        mine = next(row for row in report["results"] if row["user"] == str(alice.pk))
        assert mine == {
            "user": str(alice.pk),
            "user_name": "Alice",
            "month": "2026-10",
            "tasks": 1,
            "gpu_ms": 3_600_001,
            "hours_charged": "1.000000",
            "quota_gpu_ms": 0,
            "quota_hours": "0.000000",
            "reserved_gpu_ms": 0,
            "reserved_hours": "0.000000",
            "cost_microusd": 500_008,
            "cost_usd": "0.500008",
        }
        assert (report["totals"]["tasks"], report["totals"]["quota_gpu_ms"]) == (2, HOUR)
        assert report["is_complete"]

    def test_reserved_hours_are_no_quota(self, api, lab, alice):
        used(lab, funding="quota", gpu_ms=HOUR, charge=0, fee=0, owner_part=0)
        used(lab, funding="reserved", gpu_ms=2 * HOUR, charge=0, fee=0, owner_part=0)
        totals = ask(api(alice))["totals"]
        assert [totals[name] for name in ("gpu_ms", "quota_gpu_ms", "reserved_gpu_ms")] == [3 * HOUR, HOUR, 2 * HOUR]
        row = next(row for row in table(api(alice), group_by="funding") if row["funding"] == "reserved")
        assert (row["quota_hours"], row["reserved_hours"]) == ("0.000000", "2.000000")

    def test_what_has_no_cost_code_can_be_asked_for(self, api, lab, alice):
        used(lab, cost_code="")
        used(lab, cost_code="A")
        assert ask(api(alice), cost_code="")["totals"]["tasks"] == 1

    def test_what_the_platform_broke_is_nobodys_usage(self, api, lab, alice):
        used(lab, charge=0, fee=0, owner_part=0, from_loss=5)
        assert ask(api(alice))["totals"]["gpu_ms"] == 0

    def test_a_month_ends_where_the_next_begins(self, api, lab, alice):
        for at in (OCTOBER - timedelta(microseconds=1), OCTOBER, NOVEMBER - timedelta(microseconds=1), NOVEMBER):
            used(lab, at=at)
        assert ask(api(alice))["totals"]["tasks"] == 2
        leap = {"from": "2028-02-01", "to": "2028-03-01"}
        used(lab, at=datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC))
        (row,) = ask(api(alice), group_by="month", **leap)["results"]
        assert (row["month"], row["tasks"]) == ("2028-02", 1)

    def test_subtrees_gather_what_stands_below_each_child(self, api, alice, lab):
        group = Account.objects.create(name="Group", parent=lab)
        desk = Account.objects.create(name="Desk", parent=group)
        for account in (lab, group, desk, desk):
            used(account)
        rows = ask(api(alice), account=str(lab.pk), group_by="subtree")["results"]
        assert {(row["subtree_name"], row["tasks"]) for row in rows} == {("Lab", 1), ("Group", 3)}
        assert ask(api(alice), 400, group_by="subtree")["errors"][0]["attr"] == "account"

    def test_it_adds_up_to_what_the_ledger_captured(self, alice, bob, lab, dana, olga, api, sound_books):
        """Tasks of both fundings, several owners and people, as hosts really report them."""
        rigs = [Rig(olga.personal_account, price_per_hour=2_500_001), Rig(lab, name="own", price_per_hour=1_234_567)]
        top_up(lab, 90_000_000)
        grant_hours(account=lab, gpu_ms=50 * HOUR, by=None, reason="Year", key="year")
        for number, by in enumerate((alice, bob, alice, bob)):
            an_approved_task(by, dana, account=lab, funding=("wallet", "quota")[number % 2], cost_code=f"C{number}")
            tasks.schedule()
            rig = next(rig for rig in rigs if Attempt.objects.filter(host=rig.host_id, status="OFFERED").exists())
            offer = rig.take()
            rig.start(offer)
            has_run_for(offer, 1_500)
            rig.finish(offer, elapsed_ms=1_234_567 + number)
        begin, end = months("this", clock.now())
        asked = UsageAsked(begin=begin, end=end, group_by=("user", "gpu", "kind", "cost_code"), account=lab)
        rows = list(usage_rows(asked, by=alice))
        captured = dict(
            Transfer.objects.filter(hold__balance__owner_key=lab.owner_key)
            .order_by()
            .values_list("asset")
            .annotate(sum=Sum("amount"))
        )
        assert captured["USD"] > 0
        assert captured["GPU"] > 0
        assert sum(row["paid"] for row in rows) == captured["USD"]
        assert sum(row["quota_ms"] for row in rows) == captured["GPU"]
        assert sum(row["task_count"] for row in rows) == 4
        totals = usage_totals(asked, by=alice)
        assert (totals["paid"], totals["quota_ms"]) == (captured["USD"], captured["GPU"])
        # Each charge is of the moment of its transfers, so that both are always of one month.
        for charge in Charge.objects.all():
            legs = Transfer.objects.filter(ref=str(charge.task_id), hold__isnull=False)
            assert {charge.at} == set(legs.values_list("created_at", flat=True))


class TestWhoSeesWhat:
    def test_managers_see_the_subtree_members_their_own_and_strangers_nothing(self, api, pat, family, child, charlie):
        mate = Account.objects.create(name="Mate", parent=family)
        used(child, charlie)
        used(child)
        used(mate)
        assert ask(api(pat))["totals"]["tasks"] == 3
        assert ask(api(charlie))["totals"]["tasks"] == 1
        assert ask(api(charlie), account=str(child.pk), group_by="user")["results"][0]["user_name"] == "Charlie"

    def test_who_left_sees_nothing_of_it_any_more(self, api, lab, bob):
        used(lab, bob)
        assert ask(api(bob))["totals"]["tasks"] == 1
        Membership.objects.filter(user=bob, account=lab).delete()
        assert ask(api(bob))["totals"]["tasks"] == 0

    def test_another_ones_account_is_as_unknown_as_none(self, api, lab, charlie, alice):
        used(lab)
        assert ask(api(alice), account=str(lab.pk))["totals"]["tasks"] == 1
        bodies = [ask(api(charlie), 404, account=id_)["errors"] for id_ in (str(lab.pk), str(uuid4()))]
        assert bodies[0] == bodies[1]
        assert ask(api(charlie), user=str(alice.pk))["results"] == []

    def test_staff_see_all_by_the_permission_and_nothing_without_it(self, api, dana, lab, django_user_model):
        used(lab)
        assert ask(api(dana))["totals"]["tasks"] == 1
        plain = django_user_model.objects.create(email="plain@example.test", is_staff=True)
        assert ask(api(plain))["totals"]["tasks"] == 0

    def test_it_asks_as_many_questions_however_much_there_is(self, api, lab, alice, django_assert_num_queries):
        client = api(alice)
        for number in range(30):
            used(lab, alice if number % 2 else None, cost_code=str(number))
        # The log-in 2, permissions 2, managed accounts 1; totals, rows, names of accounts and of people.
        with django_assert_num_queries(9):
            assert len(ask(client, group_by="account,user,cost_code")["results"]) == 30


class TestBadInput:
    @pytest.mark.parametrize(
        ("query", "attr"),
        [
            ({"group_by": "account,password"}, "group_by"),
            ({"group_by": "kind,kind"}, "group_by"),
            ({"from": "yesterday"}, "from"),
            ({"from": ""}, "from"),
            ({"group_by": ""}, "group_by"),
            ({"account": ""}, "account"),
            ({"from": "0001-01-01T00:00+14:00"}, "from"),
            ({"from": "2026-13-01"}, "from"),
            ({"to": "2026-09-01"}, "to"),
            ({"to": "2028-10-01"}, "to"),
            ({"account": "lab"}, "account"),
            ({"user": "' OR 1=1"}, "user"),
            ({"cost_code": "x" * 65}, "cost_code"),
            ({"acount": "x"}, "acount"),
        ],
    )
    def test_it_names_what_is_wrong(self, api, alice, query, attr):
        assert ask(api(alice), 400, **query)["errors"][0]["attr"] == attr


class TestCSV:
    def test_it_has_the_same_and_no_formula(self, api, lab, alice):
        lab.name = "=cmd|' /C calc'!A0"
        lab.save()
        used(lab, alice, cost_code='+1,2"3', charge=1_000_001, fee=1, owner_part=1_000_000)
        (row,) = table(api(alice), group_by="account,cost_code")
        assert row["account_name"] == "'=cmd|' /C calc'!A0"
        assert row["cost_code"] == "'+1,2\"3"
        assert (row["cost_microusd"], row["cost_usd"], row["tasks"]) == ("1000001", "1.000001", "1")

    def test_a_refusal_is_a_refusal(self, api, alice):
        answer = api(alice).get(URL, {"format": "csv", "group_by": "nothing"})
        assert answer.status_code == 400
        assert b"group_by" in answer.content


class TestPage:
    def test_it_shows_who_manages_all_and_others_their_own(self, client: Client, lab, alice, bob):
        used(lab, bob, at=clock.now(), cost_code="<b>bold</b>")
        used(lab, alice, at=clock.now(), cost_code="")
        page = f"/accounts/{lab.pk}/reports/?by=cost_code"
        client.force_login(alice)
        shown = client.get(page).content.decode()
        assert "&lt;b&gt;bold" in shown
        assert "<b>bold" not in shown
        assert "No cost code" in shown
        client.force_login(bob)
        shown = client.get(f"/accounts/{lab.pk}/reports/?by=user").content.decode()
        assert "What you ran yourself" in shown
        assert "Bob" in shown
        assert "Alice" not in shown

    def test_the_csv_that_it_leads_to_is_of_the_same_time(self, client: Client, lab, alice):
        used(lab, alice, at=clock.now())
        client.force_login(alice)
        shown = client.get(f"/accounts/{lab.pk}/reports/?period=year&by=month").content.decode()
        link = shown.split('href="/api/v1/reports/usage/')[1].split('"')[0].replace("&amp;", "&")
        answer = client.get(URL + link)
        assert answer.status_code == 200
        assert f"{clock.now():%Y-%m}" in b"".join(answer).decode()

    def test_an_empty_one_says_what_to_do(self, client: Client, lab, alice):
        client.force_login(alice)
        assert "Nothing was charged" in client.get(f"/accounts/{lab.pk}/reports/?by=x&period=x").content.decode()

    def test_periods_are_whole_months(self):
        assert months("last", datetime(2024, 3, 31, 12, tzinfo=UTC)) == (
            datetime(2024, 2, 1, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
        )
        assert months("year", datetime(2024, 2, 29, tzinfo=UTC)) == (
            datetime(2023, 3, 1, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
        )


def test_the_model_of_a_gpu_is_named(api, lab, alice, olga):
    rig = Rig(olga.personal_account)
    used(lab, alice, gpu_id=GPU.objects.get(host=rig.host).pk)
    assert ask(api(alice), group_by="gpu")["results"][0]["gpu_model"] == "NVIDIA H100 80GB HBM3"
    assert Membership.objects.get(user=alice, account=lab).role == Role.OWNER


@pytest.mark.parametrize("query", ["from=9999-12-31", "to=9999-12-31", "from=0001-01-01"])
def test_the_ends_of_the_calendar_are_refused(api, alice, query):
    assert api(alice).get("/api/v1/reports/usage/?from=2026-12-31").status_code == 200
    assert api(alice).get(f"/api/v1/reports/usage/?{query}").status_code == 400
