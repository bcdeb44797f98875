"""POST tasks/: take a task on, with its whole cost on hold."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts.choices import Role
from accounts.ledger.models import Hold
from accounts.models import Membership
from tasks.models import ApprovalStep, Task, TaskEvent
from tasks.tests.rig import HOUR, Rig, a_body, hours_of, refused, top_up, wallet_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/tasks/"


def stored() -> tuple[int, int, int, int]:
    return tuple(model.objects.count() for model in (Task, Hold, ApprovalStep, TaskEvent))


class TestSubmit:
    def test_it_holds_the_hours_and_waits_for_approval(self, alice, api):
        answer = api(alice).post(URL, a_body(gpus=2, hours="1.5", cost_code="P-7"), format="json")

        assert answer.status_code == 201, answer.content
        body = answer.json()
        assert (body["status"], body["gpus"], body["hours"], body["hours_held"]) == (
            "PENDING",
            2,
            "1.500000",
            "3.000000",
        )
        assert (body["held_gpu_ms"], body["gpu_ms"], body["hours_charged"]) == (3 * HOUR, 0, "0.000000")
        assert [(step["kind"], step["status"]) for step in body["approval_steps"]] == [("staff", "PENDING")]
        assert body["cost_code"] == "P-7"
        assert hours_of(alice.personal_account) == (7 * HOUR, 3 * HOUR)

    def test_it_writes_the_first_event(self, alice, api):
        task_id = api(alice).post(URL, a_body(), format="json").json()["id"]

        (event,) = TaskEvent.objects.filter(task_id=task_id)
        assert (event.from_status, event.to_status, event.by, event.by_label) == ("", "PENDING", alice, alice.email)

    def test_it_takes_exactly_all_hours(self, alice, api):
        assert api(alice).post(URL, a_body(hours="10"), format="json").status_code == 201
        assert hours_of(alice.personal_account) == (0, 10 * HOUR)

    def test_it_refuses_eleven_hours_and_stores_nothing(self, alice, api):
        before = stored()

        error = refused(api(alice).post(URL, a_body(hours="11"), format="json"), 400, "insufficient_quota", "hours")

        assert "1.000000 are missing" in error["detail"]
        assert stored() == before
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_it_counts_gpus_times_hours(self, alice, api):
        refused(api(alice).post(URL, a_body(gpus=6, hours="2"), format="json"), 400, "insufficient_quota", "hours")
        assert Task.objects.count() == 0

    def test_it_refuses_when_earlier_tasks_hold_the_hours(self, alice, api):
        client = api(alice)
        assert client.post(URL, a_body(hours="9"), format="json").status_code == 201

        refused(client.post(URL, a_body(hours="1.000001"), format="json"), 400, "insufficient_quota", "hours")
        assert client.post(URL, a_body(hours="1"), format="json").status_code == 201

    def test_it_rounds_what_is_missing_up(self, alice, api):
        client = api(alice)
        client.post(URL, a_body(hours="9.000001"), format="json")

        error = refused(client.post(URL, a_body(hours="1"), format="json"), 400, "insufficient_quota", "hours")
        assert "0.000001 are missing" in error["detail"]

    def test_it_asks_who_calls(self, api):
        refused(api().post(URL, a_body(), format="json"), 401, "not_authenticated")

    def test_it_never_shows_values_of_the_environment(self, alice, api):
        body = api(alice).post(URL, a_body(env={"TOKEN": "s3cret-value", "A": ""}), format="json").json()

        assert body["env_names"] == ["A", "TOKEN"]
        assert "s3cret-value" not in str(body)


class TestAccount:
    def test_a_member_spends_the_accounts_hours(self, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")

        answer = api(bob).post(URL, a_body(account=str(lab.pk)), format="json")

        assert answer.status_code == 201, answer.content
        assert answer.json()["account"] == str(lab.pk)
        assert hours_of(lab) == (3 * HOUR, 2 * HOUR)
        assert hours_of(bob.personal_account) == (10 * HOUR, 0)

    def test_a_child_pays_from_its_parent(self, charlie, dana, family, child, api):
        from accounts.services import grant_hours

        grant_hours(account=family, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:family")

        answer = api(charlie).post(URL, a_body(account=str(child.pk)), format="json")

        assert answer.status_code == 201, answer.content
        assert hours_of(family) == (3 * HOUR, 2 * HOUR)

    def test_a_viewer_sees_but_cannot_spend(self, charlie, lab, api):
        Membership.objects.create(account=lab, user=charlie, role=Role.VIEWER)

        refused(api(charlie).post(URL, a_body(account=str(lab.pk)), format="json"), 403, "permission_denied", "account")

    def test_staff_who_sees_an_account_cannot_spend_from_it(self, dana, lab, api):
        refused(api(dana).post(URL, a_body(account=str(lab.pk)), format="json"), 403, "permission_denied", "account")

    @pytest.mark.parametrize("there", [True, False])
    def test_an_outsider_cannot_tell_whether_it_exists(self, charlie, lab, api, there):
        account_id = lab.pk if there else uuid4()

        for url in (URL, f"{URL}quote/"):
            answer = api(charlie).post(url, a_body(account=str(account_id)), format="json")
            error = refused(answer, 404, "not_found", "account")
            assert error["detail"] == "No such account, or not one that you see."
        assert Task.objects.count() == 0


class TestWallet:
    def test_it_holds_the_ceiling_price_rounded_up(self, alice, api):
        top_up(alice.personal_account, 10_000_000)

        answer = api(alice).post(
            URL,
            a_body(funding="wallet", hours="0.000001", gpus=3, max_price_per_hour_usd="1.000001"),
            format="json",
        )

        assert answer.status_code == 201, answer.content
        # 0.000001 h are 3 whole milliseconds: ceil(1 000 001 × 3 × 3 / 3 600 000) = 3.
        assert wallet_of(alice.personal_account) == (9_999_997, 3)
        assert answer.json()["hours_held"] == "0.000000"

    def test_it_refuses_without_money(self, alice, api):
        error = refused(
            api(alice).post(URL, a_body(funding="wallet", max_price_per_hour_usd="1"), format="json"),
            400,
            "insufficient_funds",
            "hours",
        )
        assert "2.000000 USD" in error["detail"]
        assert (Task.objects.count(), Hold.objects.count()) == (0, 0)

    def test_it_refuses_a_price_beyond_counting_as_too_little_money(self, alice, api):
        refused(
            api(alice).post(
                URL,
                a_body(funding="wallet", hours="168", gpus=64, max_price_per_hour_usd="9223372036854"),
                format="json",
            ),
            400,
            "insufficient_funds",
        )

    def test_without_a_price_it_takes_the_dearest_that_fits(self, alice, olga, api):
        top_up(alice.personal_account, 10_000_000)
        Rig(olga.personal_account, name="cheap", price_per_hour=1_000_000)
        Rig(olga.personal_account, name="dear", price_per_hour=3_000_000)

        body = api(alice).post(URL, a_body(funding="wallet"), format="json").json()

        assert body["max_price_per_hour_usd"] == "3.000000"
        assert wallet_of(alice.personal_account) == (4_000_000, 6_000_000)

    def test_without_a_price_and_a_gpu_it_asks_for_one(self, alice, api):
        refused(
            api(alice).post(URL, a_body(funding="wallet"), format="json"), 400, "no_price", "max_price_per_hour_usd"
        )

    def test_a_gpu_that_is_free_of_charge_can_be_had_for_a_micro_dollar_on_hold(self, alice, olga, api):
        top_up(alice.personal_account, 5)
        Rig(olga.personal_account, price_per_hour=0)

        answer = api(alice).post(URL, a_body(funding="wallet"), format="json")

        assert answer.status_code == 201, answer.content
        assert wallet_of(alice.personal_account) == (3, 2)
