"""Logs: bytes at offsets from the host, text at offsets to the reader."""

from __future__ import annotations

import pytest

from tasks.models import Attempt, LogChunk
from tasks.tests.rig import Rig, a_task, an_approved_task, offered_to, refused, running_on

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice, dana):
    return an_approved_task(alice, dana)


@pytest.fixture
def offer(rig, task):
    return running_on(rig)


def read(client, task, **query):
    return client.get(f"/api/v1/tasks/{task.pk}/logs/", query)


class TestAppend:
    def test_it_grows_by_what_is_new(self, rig, offer):
        assert rig.log(offer, b"one\n", 0) == {"offset": 4}
        assert rig.log(offer, b"two\n", 4) == {"offset": 8}
        assert Attempt.objects.get().log_size == 8

    def test_a_repeated_batch_adds_nothing(self, rig, offer):
        for _ in range(3):
            assert rig.log(offer, b"one\n", 0) == {"offset": 4}
        assert LogChunk.objects.count() == 1

    def test_an_overlap_is_trimmed(self, rig, offer, alice, task, api):
        rig.log(offer, b"abcdef", 0)
        assert rig.log(offer, b"defghi", 3) == {"offset": 9}
        assert rig.log(offer, b"b", 1) == {"offset": 9}
        assert read(api(alice), task).content == b"abcdefghi"

    def test_a_hole_is_told_where_to_go_on(self, rig, offer):
        rig.log(offer, b"abc", 0)
        answer = rig.log(offer, b"xyz", 5, status=416)
        assert set(answer) == {"type", "errors", "request_id", "offset"}
        assert (answer["offset"], answer["errors"][0]["code"], answer["errors"][0]["attr"]) == (3, "log_gap", "offset")
        assert Attempt.objects.get().log_size == 3

    def test_an_empty_batch_asks_where_the_log_is(self, rig, offer):
        rig.log(offer, b"abc", 0)
        assert rig.log(offer, b"", 0) == {"offset": 3}

    def test_any_bytes_are_kept(self, rig, offer, alice, task, api):
        data = bytes(range(256))
        rig.log(offer, data, 0)
        answer = read(api(alice), task)
        assert (answer.content, answer["Content-Type"]) == (data, "text/plain; charset=utf-8")
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_it_has_a_cap(self, rig, offer, settings):
        settings.MAX_LOG_BYTES = 10
        rig.log(offer, b"0123456789", 0)
        error = rig.log(offer, b"x", 10, status=413)["errors"][0]
        assert error["code"] == "log_full"
        assert rig.log(offer, b"9", 9) == {"offset": 10}

    def test_a_batch_has_a_size(self, rig, offer):
        rig.log(offer, b"x" * (256 * 1024), 0)
        rig.log(offer, b"x" * (256 * 1024 + 1), 256 * 1024, status=400)

    def test_a_preparing_attempt_may_log_too(self, rig, task):
        assert rig.log(offered_to(rig), b"pulling", 0) == {"offset": 7}


class TestFence:
    def test_a_foreign_host_has_lost_it(self, rig, offer, olga):
        other = Rig(olga.personal_account, name="other")
        assert other.log(offer, b"lies", 0, status=409)["errors"][0]["code"] == "lease_lost"
        assert LogChunk.objects.count() == 0

    def test_a_stale_epoch_has_lost_it(self, rig, offer):
        rig.log({**offer, "epoch": 2}, b"x", 0, status=409)

    def test_an_ended_attempt_takes_no_more(self, rig, offer):
        rig.finish(offer)
        rig.log(offer, b"x", 0, status=409)

    @pytest.mark.parametrize(
        "query",
        ["epoch=1", "offset=0", "epoch=1&offset=-1", "epoch=x&offset=0", "epoch=1&offset=1e3", "epoch=1&offset=٣"],
    )
    def test_it_names_bad_input(self, rig, offer, query):
        answer = rig.http.post(
            f"/api/agent/v1/attempts/{offer['id']}/logs?{query}", b"x", content_type="application/octet-stream"
        )
        assert refused(answer, 400)["attr"] in ("epoch", "offset")

    def test_it_takes_bytes_alone(self, rig, offer):
        url = f"/api/agent/v1/attempts/{offer['id']}/logs?epoch=1&offset=0"
        refused(rig.http.post(url, {"a": 1}, format="json"), 415)


class TestRead:
    def test_it_goes_on_from_an_offset(self, rig, offer, alice, task, api):
        client = api(alice)
        rig.log(offer, b"one\n", 0)
        first = read(client, task)
        rig.log(offer, b"two\nthree\n", 4)
        second = read(client, task, offset=first["X-Log-Next-Offset"])

        assert (first.content, first["X-Log-Next-Offset"]) == (b"one\n", "4")
        assert (second.content, second["X-Log-Next-Offset"]) == (b"two\nthree\n", "14")
        assert read(client, task, offset=6).content == b"o\nthree\n"
        assert (read(client, task, offset=99).content, read(client, task, offset=99)["X-Log-Next-Offset"]) == (
            b"",
            "99",
        )

    def test_it_comes_in_pieces(self, rig, offer, alice, task, api):
        piece = b"x" * (200 * 1024)
        rig.log(offer, piece, 0)
        rig.log(offer, piece, len(piece))
        client = api(alice)
        first = read(client, task)
        second = read(client, task, offset=first["X-Log-Next-Offset"])
        assert (len(first.content), len(second.content)) == (256 * 1024, 144 * 1024)

    def test_it_is_of_the_last_attempt_that_wrote(self, rig, offer, alice, task, api):
        rig.log(offer, b"first", 0)
        rig.finish(offer, "FAILED", fault="host", code="disk", log_size=5)
        second = running_on(rig)
        client = api(alice)
        assert read(client, task).content == b"first"

        rig.log(second, b"second", 0)

        answer = read(client, task)
        assert (answer.content, answer["X-Log-Attempt"]) == (b"second", second["id"])
        assert read(client, task, attempt=offer["id"]).content == b"first"

    def test_a_task_that_never_ran_has_an_empty_one(self, alice, api):
        answer = read(api(alice), a_task(alice))
        assert (answer.status_code, answer.content, answer["X-Log-Next-Offset"]) == (200, b"", "0")

    def test_it_can_be_asked_for_as_text(self, rig, offer, alice, task, api):
        rig.log(offer, b"one\n", 0)
        client = api(alice)
        answer = client.get(f"/api/v1/tasks/{task.pk}/logs/", headers={"Accept": "text/plain"})
        assert answer.content == b"one\n"

    @pytest.mark.parametrize("offset", ["-1", "x", "1.5", "", "٣", "9" * 30])
    def test_it_refuses_a_bad_offset(self, offer, alice, task, api, offset):
        refused(read(api(alice), task, offset=offset), 400, "invalid", "offset")

    def test_it_refuses_unknown_parameters(self, offer, alice, task, api):
        refused(read(api(alice), task, tail="10"), 400, "unknown_filter", "tail")

    @pytest.mark.parametrize("attempt", ["x", "0199a0b2-0000-7000-8000-00000000dead"])
    def test_it_finds_no_attempt_of_elsewhere(self, offer, alice, task, api, attempt):
        refused(read(api(alice), task, attempt=attempt), 404, "not_found", "attempt")

    def test_it_finds_no_attempt_of_another_task(self, rig, offer, alice, api):
        refused(read(api(alice), a_task(alice), attempt=offer["id"]), 404, "not_found", "attempt")
