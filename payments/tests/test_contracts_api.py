"""Contracts over REST: both sides, what each sees, and what is refused by name."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts.models import Membership
from payments import services
from payments.models import Contract
from payments.tests.deals import a_branch, an_owner, rich

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/contracts/"


@pytest.fixture
def branch(lab, bob):
    rich(lab, usd=1000, hours=100)
    return a_branch(lab, bob)


@pytest.fixture
def body(lab, branch):
    return {"kind": "allowance", "title": "Monthly", "payer": str(lab.pk), "payee": str(branch.pk), "hours": "10"}


def post(client, body, key=None):
    return client.post(URL, body, format="json", HTTP_IDEMPOTENCY_KEY=key or str(uuid4()))


def codes(answer):
    return [(error["code"], error["attr"]) for error in answer.json()["errors"]]


class TestLife:
    def test_from_proposal_to_periods(self, api, lab, alice, olga, branch, settings):
        settings.PLATFORM_FEE_PERCENT = "10"
        owner = an_owner(olga)
        body = {
            "kind": "reservation", "title": "H100s", "payer": str(lab.pk), "payee": str(owner.pk),
            "hours": "100", "price_usd": "20", "gpu_model": "H100", "roll_over": "expire", "time_zone": "Europe/Berlin",
        }  # fmt: skip
        made = post(api(alice), body)
        assert made.status_code == 201, made.json()
        url = f"{URL}{made.json()['id']}/"
        terms = api(olga).get(url).json()["terms"][0]
        assert (terms["version"], terms["hours"], terms["price_usd"], terms["fee_usd"]) == (
            1, "100.000000", "20.000000", "2.000000",
        )  # fmt: skip
        assert api(alice).post(f"{url}accept/", {"version": 1}, format="json").status_code == 409
        changed = api(olga).post(f"{url}propose/", {"price_usd": "30"}, format="json")
        assert changed.status_code == 200, changed.json()
        assert codes(api(alice).post(f"{url}accept/", {"version": 1}, format="json")) == [("terms_changed", "version")]
        accepted = api(alice).post(f"{url}accept/", {"version": 2}, format="json").json()
        assert (accepted["status"], accepted["next_period"]) == ("ACTIVE", 0)
        services.tick_all(now=Contract.objects.get().due_at)
        seen = api(alice).get(url).json()
        assert (seen["next_period"], seen["hours_left"], seen["terms"][0]["gpu_model"]) == (1, "100.000000", "H100")
        periods = api(olga).get(f"{url}periods/").json()["results"]
        assert [(row["number"], row["price_usd"], row["terms_version"]) for row in periods] == [(0, "30.000000", 2)]
        for verb, status in (("pause", "PAUSED"), ("resume", "ACTIVE"), ("cancel", "ACTIVE")):
            assert api(alice).post(f"{url}{verb}/", {"reason": "So"}, format="json").json()["status"] == status
        assert api(alice).get(url).json()["cancelled_from_period"] == 1
        assert api(alice).post(f"{url}cancel/").status_code == 409

    def test_a_key_is_required_and_makes_one(self, api, alice, body):
        client = api(alice)
        assert codes(client.post(URL, body, format="json")) == [("idempotency_key_required", None)]
        first, again = post(client, body, "once"), post(client, body, "once")
        assert (again.json(), Contract.objects.count()) == (first.json(), 1)
        assert post(client, {**body, "hours": "11"}, "once").status_code == 422

    def test_a_draft_is_ones_own(self, api, alice, bob, body):
        made = post(api(alice), {**body, "draft": True}).json()
        assert made["status"] == "DRAFT"
        assert api(bob).get(f"{URL}{made['id']}/").status_code == 404
        sent = api(alice).post(f"{URL}{made['id']}/propose/", {}, format="json")
        assert sent.json()["status"] == "PROPOSED"
        assert api(bob).get(f"{URL}{made['id']}/").status_code == 200

    def test_lists_are_narrowed(self, api, alice, body, lab, branch, django_assert_max_num_queries):
        for _ in range(3):
            post(api(alice), body)
        client = api(alice)
        with django_assert_max_num_queries(9):
            assert len(client.get(URL).json()["results"]) == 3
        assert len(client.get(f"{URL}?account={branch.pk}&status=PROPOSED").json()["results"]) == 3
        assert client.get(f"{URL}?kind=reservation").json()["results"] == []
        assert client.get(f"{URL}?kind=other").status_code == 400


class TestIDOR:
    def test_case_65_another_tenants_contract_is_absent(self, api, alice, charlie, body):
        made = post(api(alice), body).json()["id"]
        unknown = api(charlie).get(f"{URL}{uuid4()}/").json()["errors"]
        for path in ("", "periods/"):
            answer = api(charlie).get(f"{URL}{made}/{path}")
            assert (answer.status_code, answer.json()["errors"]) == (404, unknown)
        for verb in ("accept", "decline", "propose", "pause", "resume", "cancel"):
            assert api(charlie).post(f"{URL}{made}/{verb}/", {}, format="json").status_code == 404
        assert Contract.objects.get().status == "PROPOSED"

    def test_case_65_nor_can_anybody_pay_from_it(self, api, charlie, body):
        assert codes(post(api(charlie), body)) == [("not_found", "payer")]

    def test_an_owner_who_offers_nothing_is_nobody(self, api, alice, olga, body, lab):
        hidden = an_owner(olga)
        hidden.hosts.get().gpus.update(visibility="PRIVATE")
        reserve = {**body, "kind": "reservation", "price_usd": "5", "payee": str(hidden.pk)}
        absent = post(api(alice), {**reserve, "payee": str(uuid4())})
        assert post(api(alice), reserve).json()["errors"] == absent.json()["errors"]

    def test_members_see_and_managers_act(self, api, alice, bob, body):
        made = post(api(alice), body).json()["id"]
        Membership.objects.filter(user=bob).update(role="MEMBER")
        assert api(bob).get(f"{URL}{made}/").status_code == 200
        assert api(bob).post(f"{URL}{made}/accept/", {"version": 1}, format="json").status_code == 403
        assert post(api(bob), body).status_code == 403


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"hours": 1.5}, ("not_exact", "hours")),
            ({"hours": 0}, ("min_value", "hours")),
            ({"hours": "-1"}, ("not_exact", "hours")),
            ({"hours": 10**30}, ("out_of_range", "hours")),
            ({"hours": "1e30"}, ("not_exact", "hours")),
            ({"hours": "1.0000000001"}, ("not_exact", "hours")),
            ({"hours": True}, ("not_exact", "hours")),
            ({"hours": "999999999999"}, ("max_value", "hours")),
            ({"amount_usd": "5"}, ("invalid", "amount_usd")),
            ({"price_usd": "5"}, ("invalid_terms", "price_usd")),
            ({"price_usd": 0.5}, ("not_exact", "price_usd")),
            ({"ends_on": "2020-01-01"}, ("invalid_terms", "ends_on")),
            ({"starts_on": "2020-01-01"}, ("invalid_terms", "starts_on")),
            ({"starts_on": "2027-02-31"}, ("invalid", "starts_on")),
            ({"starts_on": "2027-06-01", "ends_on": "2027-05-31"}, ("invalid_terms", "ends_on")),
            ({"anchor_on": "0001-01-01"}, ("invalid_terms", "anchor_on")),
            ({"interval": "day"}, ("invalid_choice", "interval")),
            ({"time_zone": "Mars/Olympus"}, ("invalid_terms", "time_zone")),
            ({"time_zone": "../../etc/passwd"}, ("invalid_terms", "time_zone")),
            ({"status": "ACTIVE"}, ("unknown_field", "status")),
            ({"fee_basis_points": 0}, ("unknown_field", "fee_basis_points")),
            ({"title": ""}, ("blank", "title")),
            ({"payee": "me"}, ("invalid", "payee")),
            ({"roll_over": "expire", "hours": "1", "renewal": "renew"}, ("invalid_terms", "renewal")),
        ],
    )
    def test_it_is_named(self, api, alice, body, change, error):
        answer = post(api(alice), {**body, **change})
        assert (answer.status_code, codes(answer)) == (400, [error])
        assert not Contract.objects.exists()

    def test_a_contract_with_itself(self, api, alice, body):
        answer = post(api(alice), {**body, "payee": body["payer"]})
        assert (answer.status_code, codes(answer)) == (400, [("invalid_terms", "payee")])

    def test_the_31st_and_a_dst_day_are_fine(self, api, alice, body):
        change = {"starts_on": "2027-10-31", "time_zone": "Europe/Berlin", "anchor_on": "2027-01-31"}
        assert post(api(alice), {**body, **change}).status_code == 201

    @pytest.mark.parametrize("version", [0, -1, 1.0, "1", None, 10**30, True])
    def test_a_version_is_a_number(self, api, alice, body, version):
        made = post(api(alice), body).json()["id"]
        answer = api(alice).post(f"{URL}{made}/accept/", {"version": version}, format="json")
        assert answer.status_code == 400
