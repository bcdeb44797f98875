import pytest
from django.urls import reverse as url

from accounts.ledger import models
from accounts.ledger.services import hold, open_cap, take_snapshot
from gaas.lib.clock import now

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
            assert response.context["cl"].result_list.count() == found

    def test_a_user_who_is_no_staff_is_sent_away(self, client, django_user_model, rows):
        client.force_login(django_user_model.objects.create_user(email="c@example.org", password="not-a-guess-9"))
        assert client.get(url("admin:ledger_transfer_changelist")).status_code == 302
