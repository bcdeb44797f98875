"""GET tasks/ and one task: filters, order, pages, fields, ETag."""

from __future__ import annotations

import pytest

from gaas.lib import clock
from tasks import services
from tasks.models import Task
from tasks.tests.rig import HOUR, Rig, a_task, an_approved_task, has_run_for, refused, running_on

pytestmark = [pytest.mark.django_db]

URL = "/api/v1/tasks/"


@pytest.fixture
def client(alice, api):
    return api(alice)


def ids(client, **query) -> list[str]:
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


class TestFilters:
    def test_by_status_one_or_more(self, client, alice, dana):
        pending, approved = a_task(alice, limit_ms=HOUR), an_approved_task(alice, dana, limit_ms=HOUR)
        ended = a_task(alice, limit_ms=HOUR)
        services.cancel(ended, by=alice, now=clock.now())

        assert ids(client, status="PENDING") == [str(pending.pk)]
        assert ids(client, status=["PENDING", "APPROVED"]) == [str(approved.pk), str(pending.pk)]

    def test_by_account_and_submitter(self, client, alice, bob, dana, lab):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        own, shared = a_task(alice), a_task(bob, account=lab)

        assert ids(client, account=str(lab.pk)) == [str(shared.pk)]
        assert ids(client, mine="true") == [str(own.pk)]
        assert ids(client, mine="false") == [str(shared.pk)]

    def test_by_kind_funding_and_cost_code(self, client, alice):
        task = a_task(alice, cost_code="P-7")
        assert ids(client, cost_code="P-7", kind="script", funding="quota") == [str(task.pk)]
        assert ids(client, cost_code="P-8") == ids(client, funding="wallet") == ids(client, kind="train") == []

    def test_by_moment(self, client, alice):
        first = a_task(alice, limit_ms=HOUR)
        moment = clock.now().isoformat()
        second = a_task(alice, limit_ms=HOUR)
        assert ids(client, created_after=moment) == [str(second.pk)]
        assert ids(client, created_before=moment) == [str(first.pk)]

    @pytest.mark.parametrize(
        ("query", "code", "attr"),
        [
            ({"colour": "red"}, "unknown_filter", "colour"),
            ({"submitted_by": "1"}, "unknown_filter", "submitted_by"),
            ({"status__in": "PENDING"}, "unknown_filter", "status__in"),
            ({"status": "DONE"}, "invalid_choice", "status"),
            ({"account": "mine"}, "invalid", "account"),
            ({"funding": "gold"}, "invalid_choice", "funding"),
            ({"mine": "perhaps"}, "invalid", "mine"),
            ({"created_after": "yesterday"}, "invalid", "created_after"),
            ({"ordering": "title"}, "unknown_ordering", "ordering"),
            ({"ordering": "submitted_by__password"}, "unknown_ordering", "ordering"),
            ({"cursor": "garbage"}, "invalid_cursor", "cursor"),
            ({"page_size": "0"}, "invalid", "page_size"),
            ({"page_size": "201"}, "invalid", "page_size"),
            ({"page_size": "1_0"}, "invalid", "page_size"),
        ],
    )
    def test_a_slip_is_named(self, client, query, code, attr):
        refused(client.get(URL, query), 400, code, attr)


class TestPages:
    def test_they_go_on_where_the_last_one_ended(self, client, alice):
        tasks = [str(a_task(alice, limit_ms=HOUR).pk) for _ in range(5)]
        first = client.get(URL, {"page_size": 2}).json()
        newcomer = str(a_task(alice, limit_ms=HOUR).pk)
        second = client.get(first["next"]).json()
        third = client.get(second["next"]).json()

        assert [row["id"] for page in (first, second, third) for row in page["results"]] == tasks[::-1]
        assert (first["previous"], third["next"]) == (None, None)
        assert newcomer not in str(second)

    def test_a_cursor_of_another_order_is_refused(self, client, alice):
        for _ in range(3):
            a_task(alice, limit_ms=HOUR)
        forward = client.get(URL, {"page_size": 1}).json()["next"]
        refused(client.get(f"{forward}&ordering=id"), 400, "invalid_cursor", "cursor")

    def test_the_oldest_can_come_first(self, client, alice):
        tasks = [str(a_task(alice, limit_ms=HOUR).pk) for _ in range(3)]
        assert ids(client, ordering="id") == tasks


class TestFields:
    def test_a_list_gives_what_is_asked_for(self, client, alice):
        task = a_task(alice)
        assert client.get(URL, {"fields": "id,status"}).json()["results"] == [{"id": str(task.pk), "status": "PENDING"}]

    def test_so_does_a_single_task(self, client, alice):
        task = a_task(alice)
        assert client.get(f"{URL}{task.pk}/", {"fields": "status,hours"}).json() == {
            "status": "PENDING",
            "hours": "2.000000",
        }

    def test_an_unknown_one_is_named(self, client, alice):
        refused(client.get(URL, {"fields": "id,password"}), 400, attr="fields")

    def test_lists_leave_out_what_is_large(self, client, alice):
        a_task(alice)
        (row,) = client.get(URL).json()["results"]
        assert not {"spec", "env", "env_names", "result"} & set(row)


class TestETag:
    def test_what_did_not_change_is_not_sent_again(self, client, alice):
        task = a_task(alice)
        first = client.get(f"{URL}{task.pk}/")
        again = client.get(f"{URL}{task.pk}/", headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])

    def test_what_changed_is_sent(self, client, alice):
        task = a_task(alice)
        first = client.get(f"{URL}{task.pk}/")
        services.cancel(task, by=alice, now=clock.now())
        again = client.get(f"{URL}{task.pk}/", headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.json()["status"]) == (200, "CANCELLED")


class TestHistory:
    def test_events_and_attempts_come_newest_first(self, client, alice, dana, olga):
        rig = Rig(olga.personal_account)
        task = an_approved_task(alice, dana)
        rig.finish(running_on(rig), "FAILED", fault="host", code="disk")
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.finish(offer, elapsed_ms=5_000)

        events = client.get(f"{URL}{task.pk}/events/").json()["results"]
        attempts = client.get(f"{URL}{task.pk}/attempts/").json()["results"]
        assert [event["to_status"] for event in events[::-1]] == [
            "PENDING",
            "APPROVED",
            "ASSIGNED",
            "PROCESSING",
            "APPROVED",
            "ASSIGNED",
            "PROCESSING",
            "COMPLETED",
        ]
        assert [(a["epoch"], a["status"], a["failure_code"], a["metered_ms"]) for a in attempts] == [
            (2, "SUCCEEDED", "", 5_000),
            (1, "FAILED", "disk", attempts[1]["metered_ms"]),
        ]
        assert attempts[0]["gpus"] == [{"uuid": rig.devices[0].uuid, "model": rig.devices[0].model, "simulated": False}]
        assert (attempts[0]["host"], attempts[0]["sandbox"]) == ("rig", "bubblewrap")

    @pytest.mark.parametrize("route", ["events", "attempts"])
    def test_they_page_and_refuse_slips(self, client, alice, route):
        task = a_task(alice)
        url = f"{URL}{task.pk}/{route}/"
        assert set(client.get(url).json()) == {"next", "previous", "results"}
        refused(client.get(url, {"status": "PENDING"}), 400, "unknown_filter", "status")
        refused(client.get(url, {"cursor": "x"}), 400, "invalid_cursor", "cursor")


class TestPosition:
    def test_it_counts_what_is_ahead(self, client, alice, dana):
        tasks = [an_approved_task(alice, dana, limit_ms=HOUR) for _ in range(3)]
        positions = [client.get(f"{URL}{task.pk}/").json()["position"] for task in tasks]
        assert positions == [1, 2, 3]
        Task.objects.filter(pk=tasks[2].pk).update(priority=5)
        assert client.get(f"{URL}{tasks[2].pk}/").json()["position"] == 1
