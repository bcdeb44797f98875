"""POST tasks/quote/: what a submit of the same body would do; nothing is stored."""

from __future__ import annotations

import pytest

from accounts.ledger.models import Hold
from gpus.tests.fleet import a_device
from tasks.models import ApprovalStep, Task, TaskEvent
from tasks.tests.rig import HOUR, Rig, a_body, a_task, an_approved_task, hours_of, offered_to, refused, top_up

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/tasks/quote/"


@pytest.fixture
def quote(alice, api):
    client = api(alice)

    def ask(**changes):
        answer = client.post(URL, a_body(**changes), format="json")
        assert answer.status_code == 200, answer.content
        return answer.json()

    return ask


class TestQuote:
    def test_it_stores_nothing(self, quote, alice, olga):
        Rig(olga.personal_account)
        before = {model: model.objects.count() for model in (Task, Hold, ApprovalStep, TaskEvent)}

        quote()
        quote(hours="11")

        assert {model: model.objects.count() for model in before} == before
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_it_says_what_would_be_held_and_left(self, quote, alice):
        body = quote(gpus=2, hours="1.5")

        assert (body["hours_held"], body["gpu_ms_held"]) == ("3.000000", 3 * HOUR)
        assert (body["available"], body["left"], body["pays"]) == (
            "10.000000",
            "7.000000",
            str(alice.personal_account.pk),
        )
        assert (body["cost_usd_held"], body["cost_microusd_held"]) == ("0.000000", 0)
        assert body["refusal"] is None

    def test_it_names_the_approvals_and_why(self, quote):
        (step,) = quote()["approvals"]
        assert step["kind"] == "staff"
        assert step["why"]

    def test_it_gives_the_refusal_that_a_submit_would_get(self, quote, alice, api):
        body = quote(hours="11")

        refusal = refused(api(alice).post("/api/v1/tasks/", a_body(hours="11"), format="json"), 400)
        assert body["refusal"] == refusal
        assert body["left"] is None

    def test_it_gives_the_refusal_of_an_empty_wallet(self, quote, alice, api):
        ask = {"funding": "wallet", "max_price_per_hour_usd": "1.25"}

        body = quote(**ask)

        assert (body["refusal"]["code"], body["cost_usd_held"]) == ("insufficient_funds", "2.500000")
        assert body["refusal"] == refused(api(alice).post("/api/v1/tasks/", a_body(**ask), format="json"), 400)

    def test_it_refuses_what_a_submit_refuses(self, alice, api):
        refused(api(alice).post(URL, a_body(hours="169"), format="json"), 400, "too_long", "hours")

    def test_the_wallet_price_it_tells_is_the_one_that_is_stored(self, quote, alice, olga, api):
        top_up(alice.personal_account, 10_000_000)
        Rig(olga.personal_account, price_per_hour=1_500_000)

        body = quote(funding="wallet")
        task = api(alice).post("/api/v1/tasks/", a_body(funding="wallet"), format="json").json()

        assert body["max_price_per_hour_usd"] == task["max_price_per_hour_usd"] == "1.500000"
        assert (body["cost_microusd_held"], body["left"]) == (3_000_000, "7.000000")
        assert body["cheapest_per_hour_usd"] == "1.500000"


class TestFits:
    def test_it_counts_what_fits_and_what_is_free(self, quote, alice, dana, olga):
        rig = Rig(olga.personal_account, a_device(index=0), a_device(index=1))
        an_approved_task(alice, dana)
        offered_to(rig)

        body = quote()
        assert (body["gpus_fitting"], body["gpus_free"], body["waiting_reason"]) == (2, 1, None)
        assert body["starts"] == "within seconds of the approval"
        assert (quote(gpus=2)["gpus_free"], quote(gpus=2)["waiting_reason"]["code"]) == (1, "all_busy")

    def test_two_free_gpus_on_two_hosts_do_not_make_a_pair(self, quote, olga):
        Rig(olga.personal_account, name="one")
        Rig(olga.personal_account, name="two")

        body = quote(gpus=2)

        assert (body["gpus_free"], body["waiting_reason"]["code"]) == (2, "too_many_gpus")
        assert body["starts"] == "when GPUs are free"

    def test_it_says_why_nothing_fits(self, quote, olga):
        assert quote()["waiting_reason"]["code"] == "no_gpus"
        Rig(olga.personal_account)
        assert quote(gpu_model="B200")["waiting_reason"]["code"] == "no_such_model"

    def test_it_says_the_place_in_the_queue(self, quote, alice, dana):
        an_approved_task(alice, dana, limit_ms=HOUR)
        an_approved_task(alice, dana, limit_ms=HOUR, priority=-5)
        a_task(alice, limit_ms=HOUR)

        assert quote(hours="1")["position"] == 2
        assert quote(hours="1", priority=-5)["position"] == 3

    def test_it_has_a_throttle_of_its_own(self, alice, api):
        client = api(alice)

        answers = [client.post(URL, {}, format="json").status_code for _ in range(121)]

        assert answers == [400] * 120 + [429]
        assert client.get("/api/v1/tasks/").status_code == 200
