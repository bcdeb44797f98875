from __future__ import annotations

import pytest

from accounts import services
from accounts.ledger.models import Transfer
from accounts.models import Account
from accounts.tests.conftest import HOUR, USD
from gaas.audit.models import AuditEvent
from gaas.lib import clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def post(api, head, school):
    def send(body, key="k1", verb="fund", by=head, account=school):
        headers = {"Idempotency-Key": key} if key else {}
        return api(by).post(f"/api/v1/accounts/{account.pk}/{verb}/", body, format="json", headers=headers)

    return send


class TestFund:
    def test_hours_go_from_parent_to_child(self, post, school, form):
        answer = post({"to": str(form.pk), "hours": "2.5"})
        assert answer.status_code == 201
        body = answer.json()
        assert (body["kind"], body["direction"], body["hours"]) == ("fund", "OUT", "2.500000")
        assert services.balances_of(school).hours_available == 97.5 * HOUR
        assert services.balances_of(form).hours_available == 2.5 * HOUR

    def test_money_too(self, post, form):
        assert post({"to": str(form.pk), "amount_usd": "10"}).json()["amount_microusd"] == 10 * USD
        assert services.balances_of(form).wallet_available == 10 * USD

    def test_a_grandchild_can_be_funded(self, post, form):
        grandchild = Account.objects.create(name="Group", parent=form)
        assert post({"to": str(grandchild.pk), "hours": "1"}).status_code == 201

    def test_sent_twice_it_moves_once(self, post, form):
        first, again = (post({"to": str(form.pk), "hours": "1"}) for _ in range(2))
        assert first.content == again.content
        assert again["Idempotent-Replayed"] == "true"
        assert services.balances_of(form).hours_available == HOUR

    def test_the_transfers_own_key_stops_a_double_after_the_answer_is_forgotten(self, school, form, head):
        for _ in range(2):
            services.fund(account=school, to=form, asset="GPU", amount=HOUR, by=head, key="k")
        assert Transfer.objects.filter(kind="fund").count() == 1
        assert AuditEvent.objects.filter(action="account.fund").count() == 1

    def test_it_wants_a_key(self, post, form):
        answer = post({"to": str(form.pk), "hours": "1"}, key="")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "idempotency_key_required")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "required"),
            ({"hours": "1", "amount_usd": "1"}, "invalid"),
            ({"hours": 1.5}, "not_exact"),
            ({"hours": "-1"}, "not_exact"),
            ({"hours": "0"}, "min_value"),
            ({"hours": True}, "not_exact"),
            ({"hours": "101"}, "insufficient_balance"),
            ({"amount_usd": "100.000001"}, "insufficient_balance"),
            ({"hours": "1", "amount": "1"}, "unknown_field"),
        ],
    )
    def test_bad_amounts_are_refused(self, post, form, body, code):
        answer = post({"to": str(form.pk), **body})
        assert answer.status_code == 400
        assert code in {error["code"] for error in answer.json()["errors"]}
        assert not Transfer.objects.filter(kind="fund").exists()

    def test_nobody_else_than_those_below_is_funded(self, post, school, head):
        for to in (school, head.personal_account):
            answer = post({"to": str(to.pk), "hours": "1"}, key=f"k{to.pk}")
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "not_below")

    def test_an_account_that_is_not_seen_is_not_there(self, post, alice):
        assert post({"to": str(alice.personal_account.pk), "hours": "1"}).status_code == 404

    def test_a_child_that_spends_its_parents_is_not_funded(self, post, form, people):
        services.set_pays_from(account=form, pays_from="PARENT", by=people["school_owner"])
        answer = post({"to": str(form.pk), "hours": "1"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "pays_from_parent")

    def test_a_closed_child_is_not_funded(self, post, form, people, head):
        services.close_account(account=form, by=people["school_owner"], now=clock.now())
        assert post({"to": str(form.pk), "hours": "1"}).json()["errors"][0]["code"] == "account_closed"


class TestReclaim:
    @pytest.fixture
    def funded(self, post, form):
        post({"to": str(form.pk), "hours": "10"}, key="f")
        return form

    def test_it_takes_back_what_was_given(self, post, funded, school):
        answer = post({"from": str(funded.pk), "hours": "4"}, verb="reclaim")
        assert (answer.status_code, answer.json()["direction"]) == (201, "IN")
        assert services.balances_of(funded).hours_available == 6 * HOUR
        assert services.balances_of(school).hours_available == 94 * HOUR

    def test_never_more_than_was_given(self, post, funded, root):
        services.grant_hours(account=funded, gpu_ms=50 * HOUR, by=root, reason="Own", key="own")
        answer = post({"from": str(funded.pk), "hours": "11"}, verb="reclaim")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "more_than_given")
        assert post({"from": str(funded.pk), "hours": "10"}, key="k2", verb="reclaim").status_code == 201
        assert post({"from": str(funded.pk), "hours": "1"}, key="k3", verb="reclaim").status_code == 400
        assert services.balances_of(funded).hours_available == 50 * HOUR

    def test_a_key_of_fund_is_none_of_reclaim(self, post, funded):
        answer = post({"from": str(funded.pk), "hours": "1"}, key="f", verb="reclaim")
        assert answer.status_code == 422

    def test_it_is_told_in_the_audit_trail(self, post, funded, school, head):
        post({"from": str(funded.pk), "hours": "1"}, verb="reclaim")
        event = AuditEvent.objects.get(action="account.reclaim")
        assert (event.actor, event.account_id) == (head, str(school.pk))
        assert event.after["amount"] == HOUR
