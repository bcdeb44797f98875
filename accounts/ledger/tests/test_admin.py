from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.urls import reverse as url

from accounts.ledger import models
from accounts.ledger.services import Leg, capture, hold, open_cap, take_snapshot, transfer
from accounts.ledger.services.check_runs import begin_check
from gaas.lib.clock import now
from gaas.lib.ids import uuid7

pytestmark = pytest.mark.django_db

NAMES = [name.lower() for name in models.__all__]


@pytest.fixture
def staff(django_user_model, client):
    user = django_user_model.objects.create_superuser(email="books@example.org", password="not-a-guess-9")
    client.force_login(user)
    return client


@pytest.fixture
def rows(hours, wallet):
    start = now()
    cap = open_cap(asset="GPU", owner_key="acct:alice", starts_at=start, ends_at=start.replace(year=2999), limit=99)
    held = hold(balance=hours, amount=40, key="h", purpose="task", caps=[cap])
    take_snapshot(before=start.replace(year=2020))
    return {
        "asset": hours.asset,
        "balance": hours,
        "balancesnapshot": models.BalanceSnapshot.objects.first(),
        "cap": cap,
        "hold": held,
        "checkrun": begin_check(source="command", now=start),
        "holdcap": held.hold_caps.get(),
        "transfer": models.Transfer.objects.first(),
        "transferseal": models.TransferSeal.objects.get(),
    }


class TestAdmin:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_list_and_page_can_be_looked_at(self, staff, rows, name):
        assert staff.get(url(f"admin:ledger_{name}_changelist")).status_code == 200
        assert staff.get(url(f"admin:ledger_{name}_change", args=[rows[name].pk])).status_code == 200

    @pytest.mark.parametrize("name", NAMES)
    def test_case_09_nothing_can_be_added_changed_or_deleted(self, staff, rows, name):
        pk = rows[name].pk
        assert staff.post(url(f"admin:ledger_{name}_add"), {}).status_code == 403
        assert staff.post(url(f"admin:ledger_{name}_change", args=[pk]), {"amount": 1}).status_code == 403
        assert staff.post(url(f"admin:ledger_{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
        swept = {"action": "delete_selected", "_selected_action": [pk], "post": "yes"}
        staff.post(url(f"admin:ledger_{name}_changelist"), swept)
        assert type(rows[name]).objects.filter(pk=pk).exists()

    def test_amounts_are_shown_in_hours(self, staff, funded):
        funded("bob", 36_000_000)
        assert "10.000000 h" in staff.get(url("admin:ledger_transfer_changelist")).content.decode()

    def test_an_id_and_the_beginning_of_a_key_find_their_row(self, staff, rows):
        page = url("admin:ledger_transfer_changelist")
        for term, found in ((str(rows["transfer"].pk), 1), ("fund:alice", 2), ("lice", 0)):
            response = staff.get(page, {"q": term})
            assert len(response.context["cl"].result_list) == found

    def test_a_user_who_is_no_staff_is_sent_away(self, client, django_user_model, rows):
        client.force_login(django_user_model.objects.create_user(email="c@example.org", password="not-a-guess-9"))
        assert client.get(url("admin:ledger_transfer_changelist")).status_code == 302


class TestBrowser:
    """From a balance to its transfers to what caused each, by keys alone."""

    def test_pages_lead_through_all_transfers_of_a_balance_once(self, staff, hours, used, monkeypatch):
        monkeypatch.setattr("accounts.ledger.admin.balances.SHOWN", 3)
        for number in range(7):
            transfer(key=f"t{number}", kind="k", debit=hours, credit=used, amount=1)
        page, keys, address = url("admin:ledger_balance_change", args=[hours.pk]), [], ""
        while address is not None:
            book = staff.get(page + address).context["book"]
            keys += [line["transfer"].key for line in book["lines"]]
            back, address = book["pages"]["newer"], book["pages"]["older"]
        assert keys == [*(f"t{number}" for number in range(6, -1, -1)), "fund:alice:GPU"]
        assert [line["transfer"].key for line in staff.get(page + back).context["book"]["lines"]] == ["t3", "t2", "t1"]
        came = staff.get(page, {"direction": "in"}).context["book"]["lines"]
        assert [(line["transfer"].key, line["amount"]) for line in came] == [("fund:alice:GPU", "+0.000027 h")]
        assert staff.get(page, {"before": "garbage"}).context["book"]["lines"]

    def test_nothing_is_counted_or_skipped(self, staff, hours, used, django_assert_max_num_queries):
        for number in range(3):
            transfer(key=f"t{number}", kind="k", debit=hours, credit=used, amount=1)
        pages = [url("admin:ledger_balance_change", args=[hours.pk])]
        pages += [url(f"admin:ledger_{name}_changelist") for name in ("balance", "transfer", "hold")]
        for page in pages:
            with django_assert_max_num_queries(20) as asked:
                assert staff.get(page, {"before": str(models.Transfer.objects.first().pk)}).status_code == 200
            of_books = [query["sql"] for query in asked if "ledger_" in query["sql"]]
            assert of_books
            assert not [sql for sql in of_books if "COUNT(" in sql or "OFFSET" in sql]

    def test_lists_go_on_from_a_row_and_back(self, staff, hours, used, monkeypatch):
        monkeypatch.setattr("accounts.ledger.admin.transfers.TransferAdmin.list_per_page", 2)
        for number in range(4):
            transfer(key=f"t{number}", kind="k", debit=hours, credit=used, amount=1)
        page = url("admin:ledger_transfer_changelist")
        first = staff.get(page).context["cl"]
        second = staff.get(page + first.older).context["cl"]
        assert [row.key for row in (*first.result_list, *second.result_list)] == ["t3", "t2", "t1", "t0"]
        third = staff.get(page + second.older).context["cl"]
        # Before them came what made whoever looks here.
        assert (next(row.key for row in third.result_list), third.older) == ("fund:alice:GPU", None)
        assert [row.key for row in staff.get(page + third.newer).context["cl"].result_list] == ["t1", "t0"]
        assert staff.get(page, {"before": "garbage"}).status_code == 302

    def test_a_transfer_leads_to_its_task_its_legs_and_its_hold(self, staff, wallet, fees, earnings):
        task = uuid7()
        held = hold(balance=wallet, amount=40, key=f"task:{task}", purpose="task", ref=str(task))
        legs = [
            Leg(credit=earnings, amount=9, kind="earning", key=f"task:{task}:owner", ref=str(task)),
            Leg(credit=fees, amount=1, kind="fee", key=f"task:{task}:fee", ref=str(task)),
        ]
        first, second = capture(hold_id=held.pk, legs=legs, final=True, actor=f"task:{task}")
        answer = staff.get(url("admin:ledger_transfer_change", args=[first.pk])).content.decode()
        for there in (
            url("admin:tasks_task_change", args=[task]),
            url("admin:ledger_transfer_change", args=[second.pk]),
            url("admin:ledger_hold_change", args=[held.pk]),
        ):
            assert f'href="{there}"' in answer
        paid = staff.get(url("admin:ledger_hold_change", args=[held.pk])).context["book"]["legs"]
        assert [row.key for row, _ in paid] == [first.key, second.key]

    def test_links_are_for_who_may_open_them(self, client, hours, django_user_model):
        task = uuid7()
        row = hold(balance=hours, amount=4, key=f"task:{task}", purpose="task")
        clerk = django_user_model.objects.create_user(email="c@example.org", password="not-a-guess-9", is_staff=True)
        clerk.groups.add(Group.objects.get(name="Finance"))
        client.force_login(clerk)
        answer = client.get(url("admin:ledger_hold_change", args=[row.pk])).content.decode()
        assert f"task …{task.hex[-12:]}" in answer
        assert url("admin:tasks_task_change", args=[task]) not in answer


class TestCheckNow:
    def test_it_begins_one_check_and_shows_how_far_it_is(self, staff):
        answer = staff.post(url("admin:ledger_checkrun_now"))
        run = models.CheckRun.objects.get()
        assert answer["Location"] == url("admin:ledger_checkrun_change", args=[run.pk])
        page = staff.get(answer["Location"])
        assert "Waits for a worker." in page.content.decode()
        assert page["Refresh"] == "2"
        again = staff.post(url("admin:ledger_checkrun_now"), follow=True)
        assert "being checked at this moment" in again.content.decode()
        assert models.CheckRun.objects.count() == 1

    def test_it_takes_the_permission_and_a_post(self, client, django_user_model):
        auditor = django_user_model.objects.create_user(email="a@example.org", password="not-a-guess-9", is_staff=True)
        auditor.groups.add(Group.objects.get(name="Auditors"))
        client.force_login(auditor)
        assert client.get(url("admin:ledger_checkrun_now")).status_code == 405
        assert client.post(url("admin:ledger_checkrun_now")).status_code == 403
        assert "Check now" not in client.get(url("admin:index")).content.decode()


class TestDashboard:
    def test_it_says_that_the_books_were_never_checked(self, staff):
        page = staff.get(url("admin:index")).content.decode()
        assert "They were never checked here." in page
        assert "Overdue:" in page

    def test_a_clean_check_is_told_with_its_time(self, staff, hours):
        call_command("ledger_check", stdout=StringIO())
        page = staff.get(url("admin:index")).content.decode()
        assert "invariants hold</a>" in page
        assert "Overdue:" not in page

    def test_an_old_check_is_overdue(self, staff, hours):
        call_command("ledger_check", stdout=StringIO())
        models.CheckRun.objects.update(ended_at=now() - timedelta(hours=27))
        assert "Overdue:" in staff.get(url("admin:index")).content.decode()

    def test_what_is_broken_stands_there_with_links(self, staff, hours, django_user_model):
        account = django_user_model.objects.get().personal_account
        models.Balance.objects.filter(owner_key=account.owner_key, kind="hours").update(held=41)
        with pytest.raises(CommandError):
            call_command("ledger_check", stdout=StringIO())
        page = staff.get(url("admin:index")).content.decode()
        assert "hours has 41 held, but its open holds come to 0." in page
        assert url("admin:accounts_account_change", args=[account.pk]) in page
