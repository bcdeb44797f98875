from __future__ import annotations

import pytest

from accounts.ledger import services as ledger
from accounts.models import Account
from accounts.services import grant_hours, hours_balance
from gaas.lib.ids import uuid7

pytestmark = pytest.mark.django_db

URL = "/api/v1/accounts/"
HOUR = 3_600_000


class TestList:
    def test_it_begins_with_the_personal_account(self, api, alice, lab):
        rows = api(alice).get(URL).json()["results"]
        assert [row["id"] for row in rows] == [str(alice.personal_account.pk), str(lab.pk)]
        assert rows[0]["role"] == rows[1]["role"] == "OWNER"
        assert rows[0]["kind"] == "PERSON"

    def test_it_shows_what_can_be_spent_and_what_is_held(self, api, alice):
        balance = hours_balance(alice.personal_account)
        ledger.hold(balance=balance, amount=2 * HOUR, key="hold:1", purpose="test")
        row = api(alice).get(URL).json()["results"][0]
        assert (row["hours_available"], row["available_gpu_ms"]) == ("8.000000", 8 * HOUR)
        assert (row["hours_held"], row["held_gpu_ms"]) == ("2.000000", 2 * HOUR)
        assert (row["wallet_available_usd"], row["wallet_available_microusd"]) == ("0.000000", 0)
        assert (row["wallet_held_usd"], row["wallet_held_microusd"]) == ("0.000000", 0)

    def test_a_child_shows_what_its_payer_has(self, api, charlie, family, child, root):
        grant_hours(account=family, gpu_ms=5 * HOUR, by=root, reason="x", key="k")
        rows = {row["id"]: row for row in api(charlie).get(URL).json()["results"]}
        assert rows[str(child.pk)]["hours_available"] == "5.000000"
        assert rows[str(child.pk)]["role"] == "MEMBER"
        assert str(family.pk) not in rows

    def test_a_manager_sees_the_accounts_below(self, api, pat, family, child):
        rows = api(pat).get(URL).json()["results"]
        assert [row["id"] for row in rows] == [str(pat.personal_account.pk), str(child.pk), str(family.pk)]
        assert rows[1]["role"] == "MANAGER"
        assert rows[1]["parent"] == str(family.pk)

    def test_staff_with_the_permission_see_all(self, api, dana, alice, lab, charlie):
        ids = {row["id"] for row in api(dana).get(URL).json()["results"]}
        assert {str(lab.pk), str(alice.personal_account.pk), str(Account.platform().pk)} <= ids

    def test_staff_alone_see_their_own(self, api, charlie, lab):
        charlie.is_staff = True
        charlie.save()
        assert len(api(charlie).get(URL).json()["results"]) == 1

    def test_it_pages_with_the_personal_account_on_the_first_page_alone(self, api, alice, dana):
        for number in range(5):
            Account.objects.create(name=f"Lab {number}")
        client = api(dana)
        first = client.get(URL, {"page_size": 3}).json()
        assert first["results"][0]["id"] == str(dana.personal_account.pk)
        seen = [row["id"] for row in first["results"]]
        page = first
        while page["next"]:
            page = client.get(page["next"]).json()
            seen += [row["id"] for row in page["results"]]
        assert len(seen) == len(set(seen)) == Account.objects.count()

    def test_it_filters(self, api, alice, lab, pat, family, child):
        assert [row["name"] for row in api(alice).get(URL, {"kind": "ORGANISATION"}).json()["results"]] == ["Lab"]
        rows = api(pat).get(URL, {"parent": str(family.pk)}).json()["results"]
        assert [row["name"] for row in rows] == ["Child"]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"kind": "EMPEROR"}, None),
            ({"parent": "x"}, None),
            ({"owner": "x"}, "unknown_filter"),
            ({"person__password__startswith": "p"}, "unknown_filter"),
            ({"ordering": "person__password"}, "unknown_ordering"),
            ({"cursor": "garbage"}, "invalid_cursor"),
            ({"page_size": "0"}, None),
            ({"page_size": "201"}, None),
        ],
    )
    def test_it_refuses_bad_queries(self, api, alice, query, code):
        answer = api(alice).get(URL, query)
        assert answer.status_code == 400
        error = answer.json()["errors"][0]
        assert error["attr"] in query
        assert code in (None, error["code"])

    def test_it_wants_a_caller(self, api):
        assert api().get(URL).status_code == 401

    def test_it_costs_the_same_for_many(self, api, pat, family, django_assert_num_queries):
        for number in range(12):
            Account.objects.create(name=f"Child {number}", parent=family, pays_from="PARENT" if number % 2 else "SELF")
        client = api(pat)
        # The caller, two for permissions, the page, the own account, who pays, balances, storage, roles.
        with django_assert_num_queries(9):
            assert len(client.get(URL).json()["results"]) == 14


class TestRetrieve:
    def test_it_shows_one(self, api, bob, lab, django_assert_num_queries):
        client = api(bob)
        # The caller, two for permissions, the account, balances, storage, roles.
        with django_assert_num_queries(7):
            answer = client.get(f"{URL}{lab.pk}/")
        assert answer.status_code == 200
        assert (answer.json()["storage_used_bytes"], answer.json()["storage_quota_bytes"]) == (0, 50 * 2**30)
        assert (answer.json()["name"], answer.json()["role"]) == ("Lab", "MEMBER")
        assert answer["ETag"]

    def test_an_outsider_gets_the_404_of_an_unknown_id(self, api, charlie, lab):
        client = api(charlie)
        foreign, unknown = client.get(f"{URL}{lab.pk}/"), client.get(f"{URL}{uuid7()}/")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["errors"] == unknown.json()["errors"]
        assert client.get(f"{URL}x/").status_code == 404

    def test_a_child_does_not_see_its_parent(self, api, charlie, family, child):
        assert api(charlie).get(f"{URL}{child.pk}/").status_code == 200
        assert api(charlie).get(f"{URL}{family.pk}/").status_code == 404

    @pytest.mark.parametrize("method", ["put", "delete", "post"])
    def test_nothing_is_replaced_or_deleted(self, api, alice, lab, method):
        assert getattr(api(alice), method)(f"{URL}{lab.pk}/", {"name": "x"}, format="json").status_code == 405


class TestTransfers:
    def test_it_lists_the_newest_first_as_the_account_sees_them(self, api, alice, root):
        account = alice.personal_account
        grant_hours(account=account, gpu_ms=HOUR, by=root, reason="A course", key="k")
        used = ledger.platform_balance(asset="GPU", kind="used")
        ledger.transfer(key="u", kind="use", debit=hours_balance(account), credit=used, amount=1_800_000, ref="task:1")
        rows = api(alice).get(f"{URL}{account.pk}/transfers/").json()["results"]
        assert [(row["kind"], row["direction"], row["hours"], row["gpu_ms"]) for row in rows] == [
            ("use", "OUT", "0.500000", 1_800_000),
            ("grant", "IN", "1.000000", HOUR),
            ("welcome", "IN", "10.000000", 10 * HOUR),
        ]
        assert (rows[0]["ref"], rows[1]["memo"], rows[0]["amount_usd"]) == ("task:1", "A course", None)

    def test_money_is_shown_as_money(self, api, alice):
        account = alice.personal_account
        wallet = ledger.open_balance(asset="USD", kind="wallet", owner_key=account.owner_key)
        promo = ledger.platform_balance(asset="USD", kind="promo")
        ledger.transfer(key="p", kind="promo", debit=promo, credit=wallet, amount=1_250_000)
        rows = api(alice).get(f"{URL}{account.pk}/transfers/", {"asset": "USD"}).json()["results"]
        assert [(row["amount_usd"], row["amount_microusd"], row["hours"]) for row in rows] == [
            ("1.250000", 1_250_000, None)
        ]

    def test_it_pages_and_refuses_what_it_does_not_know(self, api, alice, root):
        account = alice.personal_account
        for number in range(4):
            grant_hours(account=account, gpu_ms=HOUR, by=root, reason="x", key=f"k{number}")
        client, url = api(alice), f"{URL}{account.pk}/transfers/"
        page = client.get(url, {"page_size": 2}).json()
        seen = [row["id"] for row in page["results"]]
        while page["next"]:
            page = client.get(page["next"]).json()
            seen += [row["id"] for row in page["results"]]
        assert seen == sorted(set(seen), reverse=True)
        assert len(seen) == 5
        assert client.get(url, {"cursor": "x"}).json()["errors"][0]["code"] == "invalid_cursor"
        assert client.get(url, {"debit__owner_key": "x"}).json()["errors"][0]["code"] == "unknown_filter"

    def test_an_outsider_gets_404(self, api, charlie, alice):
        assert api(charlie).get(f"{URL}{alice.personal_account.pk}/transfers/").status_code == 404

    def test_it_costs_six_queries(self, api, alice, django_assert_num_queries):
        client, url = api(alice), f"{URL}{alice.personal_account.pk}/transfers/"
        # The caller, two for permissions, the account, its balances, the page.
        with django_assert_num_queries(6):
            client.get(url)
