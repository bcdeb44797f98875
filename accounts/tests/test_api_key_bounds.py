"""What a key may do: its scopes, its account, its caps."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from accounts.choices import Role, Scope
from accounts.ledger import check
from accounts.ledger.models import Cap
from accounts.models import Account, ApiKey, Membership
from accounts.services import balances_of, request_quota
from accounts.tests.api_keys import ALL, BODY, ME, TASKS, URL, caller, grant, make, refused
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from tasks import services as tasks
from tasks.models import Task
from tasks.tests.rig import HOUR, a_body, a_task, top_up

pytestmark = pytest.mark.django_db


class TestScopes:
    def test_a_scope_covers_its_part_and_no_more(self, alice):
        reading = caller(make(alice, "tasks:read")[1])
        assert reading.get(TASKS).status_code == 200
        assert reading.post(f"{TASKS}quote/", a_body(), format="json").status_code == 200
        assert refused(reading.post(TASKS, a_body(), format="json"), 403, "scope_missing")
        assert refused(reading.get(ME), 403, "scope_missing")
        writing = caller(make(alice, "tasks:write")[1])
        assert writing.post(TASKS, a_body(), format="json").status_code == 201
        assert refused(writing.get(TASKS), 403, "scope_missing")

    def test_deciding_takes_a_scope_of_its_own(self, alice, dana):
        task = a_task(alice)
        url = f"{TASKS}{task.pk}/approve/"
        assert refused(caller(make(dana)[1]).post(url, {}, format="json"), 403, "scope_missing")
        assert caller(make(dana, "approvals:write")[1]).post(url, {}, format="json").status_code == 200

    def test_the_trail_says_by_which_key(self, alice):
        key, text = make(alice)
        caller(text).post("/api/v1/quota-requests/", {"hours": "1", "reason": "x"}, format="json")
        event = AuditEvent.objects.get(action="quota_request.create")
        assert (event.actor, event.actor_label) == (alice, f"{alice.email} by key gaas_{key.prefix}")

    def test_it_never_has_more_than_its_user(self, alice, charlie):
        task = a_task(alice)
        _, text = make(charlie)
        assert caller(text).get(f"{TASKS}{task.pk}/").status_code == 404
        asked = request_quota(account=alice.personal_account, gpu_ms=HOUR, by=alice, reason="x")
        ApiKey.objects.update(scopes=Scope.values)
        answer = caller(text).post(f"/api/v1/quota-requests/{asked.pk}/approve/", {}, format="json")
        assert answer.status_code == 404

    def test_it_loses_what_its_user_loses(self, bob, lab):
        grant(lab)
        task = a_task(bob, account=lab)
        client = caller(make(bob)[1])
        assert client.get(f"{TASKS}{task.pk}/").status_code == 200
        Membership.objects.filter(user=bob, account=lab).delete()
        assert client.get(f"{TASKS}{task.pk}/").status_code == 404

    def test_a_key_makes_no_keys(self, alice):
        key, _ = make(alice)
        client = caller(make(alice, *ALL)[1])
        for call in (
            lambda: client.get(URL),
            lambda: client.post(URL, BODY, format="json"),
            lambda: client.post(f"{URL}{key.pk}/rotate/", {}, format="json"),
            lambda: client.post(f"{URL}{key.pk}/revoke/", {}, format="json"),
        ):
            assert refused(call(), 403, "key_not_allowed")
        assert ApiKey.objects.count() == 2


class TestAccount:
    """A key that is bound to an account."""

    def test_it_acts_there_where_none_is_named(self, bob, lab):
        Membership.objects.filter(user=bob, account=lab).update(role=Role.MANAGER)
        client = caller(make(bob, account=lab)[1])
        quoted = client.post(f"{TASKS}quote/", a_body(), format="json")
        assert quoted.status_code == 200
        grant(lab)
        task = client.post(TASKS, a_body(), format="json").json()
        assert Task.objects.get(pk=task["id"]).account == lab
        asked = client.post("/api/v1/quota-requests/", {"hours": "1", "reason": "x"}, format="json")
        assert asked.json()["account"] == str(lab.pk)
        host = client.post("/api/v1/hosts/", {"name": "rig"}, format="json")
        assert host.json()["account"] == str(lab.pk)

    def test_it_sees_and_spends_nothing_elsewhere(self, bob, lab):
        own = a_task(bob)
        client = caller(make(bob, account=lab)[1])
        personal = str(bob.personal_account.pk)
        assert [row["id"] for row in client.get("/api/v1/accounts/").json()["results"]] == [str(lab.pk)]
        assert client.get(f"/api/v1/accounts/{personal}/").status_code == 404
        assert client.get(f"{TASKS}{own.pk}/").status_code == 404
        assert client.post(f"{TASKS}{own.pk}/cancel/", {}, format="json").status_code == 404
        assert client.post(TASKS, a_body(account=personal), format="json").status_code == 404
        body = {"account": personal, "hours": "1", "reason": "x"}
        assert client.post("/api/v1/quota-requests/", body, format="json").status_code == 404
        request_quota(account=bob.personal_account, gpu_ms=HOUR, by=bob, reason="x")
        assert client.get("/api/v1/quota-requests/").json()["results"] == []

    def test_it_reaches_what_lies_below(self, pat, family, child):
        client = caller(make(pat, account=family)[1])
        assert client.get(f"/api/v1/accounts/{child.pk}/").status_code == 200
        Account.objects.create(name="Other")
        assert len(client.get("/api/v1/accounts/").json()["results"]) == 2

    def test_it_has_none_of_the_rights_of_staff(self, dana, alice):
        task = a_task(alice)
        assert caller(make(dana)[1]).get(f"{TASKS}{task.pk}/").status_code == 200
        client = caller(make(dana, account=dana.personal_account)[1])
        assert client.get(f"{TASKS}{task.pk}/").status_code == 404

    def test_a_viewer_by_now_submits_nothing(self, bob, lab):
        client = caller(make(bob, account=lab)[1])
        Membership.objects.filter(user=bob, account=lab).update(role=Role.VIEWER)
        assert client.post(TASKS, a_body(), format="json").status_code == 403


class TestCaps:
    @pytest.fixture(autouse=True)
    def _sound_books(self):
        yield
        assert [problem for result in check.run() for problem in result.problems] == []

    def test_what_is_held_through_it_counts(self, api, alice):
        key, text = make(alice, cap_gpu_ms=3 * HOUR)
        client = caller(text)
        assert client.post(TASKS, a_body(), format="json").status_code == 201
        answer = client.post(TASKS, a_body(), format="json")
        assert refused(answer, 400, "cap_exceeded")
        assert Task.objects.count() == 1
        assert balances_of(alice.personal_account).hours_held == 2 * HOUR
        shown = api(alice).get(f"{URL}{key.pk}/").json()
        assert (shown["used_hours"], shown["used_gpu_ms"]) == ("2.000000", 2 * HOUR)

    def test_what_comes_back_counts_no_more(self, alice):
        _, text = make(alice, cap_gpu_ms=3 * HOUR)
        client = caller(text)
        task = client.post(TASKS, a_body(), format="json").json()["id"]
        assert client.post(f"{TASKS}{task}/cancel/", {}, format="json").status_code == 200
        assert client.post(TASKS, a_body(), format="json").status_code == 201

    def test_money_is_bounded_by_a_cap_of_its_own(self, api, alice):
        key, text = make(alice, cap_gpu_ms=0, cap_microusd=5_000_000)
        top_up(alice.personal_account, 20_000_000)
        client, body = caller(text), a_body(funding="wallet", max_price_per_hour_usd="2")
        assert client.post(TASKS, body, format="json").status_code == 201
        assert refused(client.post(TASKS, body, format="json"), 400, "cap_exceeded")
        assert refused(client.post(TASKS, a_body(), format="json"), 400, "cap_exceeded")
        shown = api(alice).get(f"{URL}{key.pk}/").json()
        assert (shown["used_usd"], shown["used_microusd"], shown["used_gpu_ms"]) == ("4.000000", 4_000_000, 0)

    def test_other_calls_of_the_user_do_not_count(self, api, alice):
        _, text = make(alice, cap_gpu_ms=3 * HOUR)
        assert api(alice).post(TASKS, a_body(), format="json").status_code == 201
        assert caller(make(alice)[1]).post(TASKS, a_body(), format="json").status_code == 201
        assert caller(text).post(TASKS, a_body(), format="json").status_code == 201

    def test_a_new_period_begins_at_nothing(self, alice):
        _, text = make(alice, cap_gpu_ms=2 * HOUR, cap_period="day")
        client = caller(text)
        assert client.post(TASKS, a_body(), format="json").status_code == 201
        assert client.post(TASKS, a_body(), format="json").status_code == 400
        # Yesterday's, as it would be tomorrow.
        day = timedelta(days=1)
        cap = Cap.objects.get(period="day")
        Cap._base_manager.filter(pk=cap.pk).update(starts_at=cap.starts_at - day, ends_at=cap.ends_at - day)
        assert client.post(TASKS, a_body(), format="json").status_code == 201

    def test_a_retry_counts(self, alice, dana):
        _, text = make(alice, cap_gpu_ms=HOUR)
        ended = a_task(alice)
        tasks.reject(ended, by=dana, reason="No", now=clock.now())
        answer = caller(text).post(f"{TASKS}{ended.pk}/retry/", {}, format="json")
        assert refused(answer, 400, "cap_exceeded")

    def test_rotation_does_not_begin_it_anew(self, api, alice):
        key, text = make(alice, cap_gpu_ms=3 * HOUR)
        assert caller(text).post(TASKS, a_body(), format="json").status_code == 201
        successor = api(alice).post(f"{URL}{key.pk}/rotate/", {}, format="json").json()
        assert successor["used_gpu_ms"] == 2 * HOUR
        assert refused(caller(successor["secret"]).post(TASKS, a_body(), format="json"), 400, "cap_exceeded")


@pytest.mark.django_db(transaction=True)
def test_forty_parallel_submits_never_pass_the_cap(alice):
    if connection.vendor != "postgresql":
        pytest.skip("threads with connections of their own want PostgreSQL")
    _, text = make(alice, cap_gpu_ms=3 * HOUR)
    start, answers = threading.Barrier(40), []

    def run():
        try:
            start.wait()
            answers.append(caller(text).post(TASKS, a_body(hours="0.5"), format="json").status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * 6 + [400] * 34
    cap = Cap.objects.get()
    assert (cap.used, cap.limit) == (3 * HOUR, 3 * HOUR)
