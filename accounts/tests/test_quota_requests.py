from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, connections

from accounts import services
from accounts.choices import Role
from accounts.ledger.models import Transfer
from accounts.models import Membership, QuotaRequest
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.lib.ids import uuid7

pytestmark = pytest.mark.django_db

URL = "/api/v1/quota-requests/"
HOUR = 3_600_000


def ask(account, by, hours=2):
    return services.request_quota(account=account, gpu_ms=hours * HOUR, by=by, reason="A deadline")


class TestCreate:
    def test_it_asks_for_the_personal_account_where_none_is_named(self, api, alice):
        answer = api(alice).post(URL, {"hours": "2.5", "reason": "A deadline"}, format="json")
        assert answer.status_code == 201
        body = answer.json()
        assert body["account"] == str(alice.personal_account.pk)
        assert (body["hours"], body["gpu_ms"], body["status"]) == ("2.500000", 9_000_000, "PENDING")
        assert (body["hours_granted"], body["decided_by"], body["decided_at"]) == (None, None, None)
        assert AuditEvent.objects.get(action="quota_request.create").actor == alice

    def test_a_member_asks_for_an_account(self, api, bob, lab):
        answer = api(bob).post(URL, {"account": str(lab.pk), "hours": 3, "reason": "x"}, format="json")
        assert answer.status_code == 201
        assert answer.json()["account"] == str(lab.pk)

    def test_a_viewer_is_refused(self, api, charlie, lab):
        Membership.objects.create(account=lab, user=charlie, role=Role.VIEWER)
        answer = api(charlie).post(URL, {"account": str(lab.pk), "hours": "1", "reason": "x"}, format="json")
        assert answer.status_code == 403

    def test_a_foreign_account_is_as_an_unknown_one(self, api, charlie, lab):
        answers = [
            api(charlie).post(URL, {"account": str(id_), "hours": "1", "reason": "x"}, format="json")
            for id_ in (lab.pk, uuid7())
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["errors"] == answers[1].json()["errors"]

    def test_a_child_that_pays_from_its_parent_is_told_whom_to_ask_for(self, api, charlie, child):
        answer = api(charlie).post(URL, {"account": str(child.pk), "hours": "1", "reason": "x"}, format="json")
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["code"] == "pays_from_parent"

    @pytest.mark.parametrize(
        ("changes", "attr"),
        [
            *[
                ({"hours": hours}, "hours")
                for hours in ("two", "1_0", "0.0000001", "-1", -1, 0, "0", "NaN", "1e400", True, None, [], 1.5, 10**30)
            ],
            ({"hours": "1000001"}, "hours"),
            ({"reason": ""}, "reason"),
            ({"reason": None}, "reason"),
            ({"reason": "x" * 2001}, "reason"),
            ({"reason": "a\u0000b"}, "reason"),
            ({"account": "x"}, "account"),
            ({"status": "APPROVED"}, "status"),
            ({"requested_by": "x"}, "requested_by"),
        ],
    )
    def test_it_names_what_is_wrong_and_stores_nothing(self, api, alice, changes, attr):
        answer = api(alice).post(URL, {"hours": "1", "reason": "x", **changes}, format="json")
        assert answer.status_code == 400
        assert [error["attr"] for error in answer.json()["errors"]] == [attr]
        assert not QuotaRequest.objects.exists()


class TestList:
    def test_one_sees_ones_own_and_those_of_ones_accounts(self, api, alice, bob, charlie, lab):
        own, shared = ask(bob.personal_account, bob), ask(lab, alice)
        ask(charlie.personal_account, charlie)
        ids = [row["id"] for row in api(bob).get(URL).json()["results"]]
        assert ids == [str(shared.pk), str(own.pk)]

    def test_staff_see_all_and_filter(self, api, dana, alice, bob):
        ask(alice.personal_account, alice)
        done = ask(bob.personal_account, bob)
        services.reject_quota_request(request=done, by=dana, reason="No", now=clock.now())
        rows = api(dana).get(URL, {"status": "PENDING"}).json()["results"]
        assert [row["account"] for row in rows] == [str(alice.personal_account.pk)]
        assert api(dana).get(URL, {"status": "MAYBE"}).status_code == 400
        assert api(dana).get(URL, {"state": "PENDING"}).json()["errors"][0]["code"] == "unknown_filter"

    def test_it_costs_the_same_for_many(self, api, alice, django_assert_num_queries):
        for _ in range(5):
            ask(alice.personal_account, alice)
        client = api(alice)
        # The caller, two for permissions, the page.
        with django_assert_num_queries(4):
            assert len(client.get(URL).json()["results"]) == 5

    def test_one_is_shown(self, api, alice, charlie):
        asked = ask(alice.personal_account, alice)
        assert api(alice).get(f"{URL}{asked.pk}/").json()["reason"] == "A deadline"
        assert api(charlie).get(f"{URL}{asked.pk}/").status_code == 404


class TestApprove:
    def test_it_grants_the_hours(self, api, dana, alice):
        asked = ask(alice.personal_account, alice)
        answer = api(dana).post(f"{URL}{asked.pk}/approve/", {"reason": "Fine"}, format="json")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["hours_granted"], body["decided_by"]) == ("APPROVED", "2.000000", str(dana.pk))
        assert services.balances_of(alice.personal_account).hours_available == 12 * HOUR
        event = AuditEvent.objects.get(action="quota_request.approved")
        assert (event.actor, event.reason, event.before["status"]) == (dana, "Fine", "PENDING")
        assert event.request_id == answer["X-Request-ID"]

    def test_it_grants_less(self, api, dana, alice):
        asked = ask(alice.personal_account, alice)
        answer = api(dana).post(f"{URL}{asked.pk}/approve/", {"hours": "0.5"}, format="json")
        assert answer.json()["granted_gpu_ms"] == 1_800_000
        assert services.balances_of(alice.personal_account).hours_available == 37_800_000

    def test_it_never_grants_more(self, api, dana, alice):
        asked = ask(alice.personal_account, alice)
        answer = api(dana).post(f"{URL}{asked.pk}/approve/", {"hours": "2.1"}, format="json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == "hours"
        asked.refresh_from_db()
        assert asked.status == "PENDING"

    def test_twice_is_a_conflict_that_names_who_and_when(self, api, dana, root, alice):
        asked = ask(alice.personal_account, alice)
        api(dana).post(f"{URL}{asked.pk}/approve/", {}, format="json")
        asked.refresh_from_db()
        for verb, body in (("approve", {}), ("reject", {"reason": "x"})):
            answer = api(root).post(f"{URL}{asked.pk}/{verb}/", body, format="json")
            assert answer.status_code == 409
            error = answer.json()["errors"][0]
            assert error["code"] == "wrong_state"
            assert f"dana@example.test approved this request at {asked.decided_at:%Y-%m-%d %H:%M:%S}" in error["detail"]
        assert services.balances_of(alice.personal_account).hours_available == 12 * HOUR

    def test_who_asked_cannot_decide(self, api, alice):
        asked = ask(alice.personal_account, alice)
        assert api(alice).post(f"{URL}{asked.pk}/approve/", {}, format="json").status_code == 403
        asked.refresh_from_db()
        assert asked.status == "PENDING"

    def test_an_outsider_gets_404_also_as_staff_without_the_permission(self, api, alice, charlie):
        asked = ask(alice.personal_account, alice)
        assert api(charlie).post(f"{URL}{asked.pk}/approve/", {}, format="json").status_code == 404
        charlie.is_staff = True
        charlie.save()
        assert api(charlie).post(f"{URL}{asked.pk}/approve/", {}, format="json").status_code == 404

    def test_who_may_only_look_is_refused(self, api, alice, charlie):
        asked = ask(alice.personal_account, alice)
        charlie.user_permissions.set(Permission.objects.filter(codename="view_quotarequest"))
        assert api(charlie).post(f"{URL}{asked.pk}/approve/", {}, format="json").status_code == 403

    def test_nobody_decides_on_their_own_but_a_superuser(self, api, dana, root):
        asked = ask(dana.personal_account, dana)
        answer = api(dana).post(f"{URL}{asked.pk}/approve/", {}, format="json")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["code"] == "own_request"
        asked = ask(root.personal_account, root)
        assert api(root).post(f"{URL}{asked.pk}/approve/", {}, format="json").status_code == 200

    @pytest.mark.parametrize("body", [{"hours": 1.5}, {"hours": "0"}, {"hours": None}, {"granted_ms": 1}, []])
    def test_it_refuses_bad_bodies(self, api, dana, alice, body):
        asked = ask(alice.personal_account, alice)
        assert api(dana).post(f"{URL}{asked.pk}/approve/", body, format="json").status_code == 400


class TestReject:
    def test_it_says_why(self, api, dana, alice):
        asked = ask(alice.personal_account, alice)
        answer = api(dana).post(f"{URL}{asked.pk}/reject/", {"reason": "Budget is spent"}, format="json")
        assert answer.status_code == 200
        shown = api(alice).get(f"{URL}{asked.pk}/").json()
        assert (shown["status"], shown["decision_reason"]) == ("REJECTED", "Budget is spent")
        assert services.balances_of(alice.personal_account).hours_available == 10 * HOUR

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "   "}, {"reason": None}])
    def test_it_wants_a_reason(self, api, dana, alice, body):
        asked = ask(alice.personal_account, alice)
        answer = api(dana).post(f"{URL}{asked.pk}/reject/", body, format="json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == "reason"


class TestRace:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_of_parallel_decisions_one_wins(self, alice, dana, root):
        if connection.vendor != "postgresql":
            pytest.skip("threads with connections of their own want PostgreSQL")
        for _ in range(20):
            asked = ask(alice.personal_account, alice)
            start, outcomes = threading.Barrier(4), []

            def decide(verb, by, asked=asked, start=start, outcomes=outcomes):
                mine = QuotaRequest.objects.get(pk=asked.pk)
                start.wait()
                try:
                    verb(request=mine, by=by, reason="x", now=clock.now())
                    outcomes.append(verb)
                except Conflict:
                    outcomes.append(None)
                finally:
                    connections.close_all()

            verbs = [services.approve_quota_request, services.reject_quota_request] * 2
            threads = [
                threading.Thread(target=decide, args=(verb, by))
                for verb, by in zip(verbs, [dana, root, root, dana], strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            winners = [outcome for outcome in outcomes if outcome]
            assert len(winners) == 1
            asked.refresh_from_db()
            granted = Transfer.objects.filter(key=f"quota_request:{asked.pk}").count()
            assert granted == (asked.status == "APPROVED") == (winners[0] is services.approve_quota_request)
