"""POST with an Idempotency-Key: one effect, one answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from accounts.api.views import QuotaRequestViewSet
from accounts.ledger.models import Transfer
from accounts.ledger.tests.test_crash import database_url
from accounts.models import QuotaRequest
from accounts.services import balances_of, grant_hours, request_quota
from gaas.lib import clock
from gaas.outbox import services
from gaas.outbox.actors import forget_keys
from gaas.outbox.api import Idempotent
from gaas.outbox.models import IdempotencyKey
from gpus.models import Host
from tasks.models import Task
from tasks.tests.rig import HOUR, a_body

pytestmark = pytest.mark.django_db

URL = "/api/v1/quota-requests/"
BODY = {"hours": "2.5", "reason": "A deadline"}


def post(client, body=BODY, key="k-1", url=URL):
    return client.post(url, body, format="json", headers={"Idempotency-Key": key})


def code_of(answer):
    return answer.json()["errors"][0]["code"]


def forgotten(now=None):
    IdempotencyKey.objects.update(expires_at=now or timezone.now() - timedelta(seconds=1))


class TestMoney:
    def test_case_21_no_key_on_a_money_moving_post(self, alice):
        view = QuotaRequestViewSet.as_view({"post": "create"}, key_required_for=("create",))
        request = APIRequestFactory().post(URL, BODY, format="json")
        force_authenticate(request, alice)

        answer = view(request, version="v1")

        assert (answer.status_code, answer.data["errors"][0]["code"]) == (400, "idempotency_key_required")
        assert not QuotaRequest.objects.exists()

    def test_case_22_replay_byte_identical(self, api, alice):
        client = api(alice)
        first = post(client)
        again = post(client)
        assert first.status_code == again.status_code == 201
        assert first.content == again.content
        assert again["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first
        assert first["Content-Type"] == again["Content-Type"]
        assert QuotaRequest.objects.count() == 1

    def test_case_22_replay_of_a_task_byte_identical(self, api, alice):
        client = api(alice)
        first, again = (post(client, a_body(), url="/api/v1/tasks/") for _ in range(2))
        assert (first.status_code, first.content) == (201, again.content)
        assert Task.objects.count() == 1
        assert balances_of(alice.personal_account).hours_held == 2 * HOUR

    def test_case_23_same_key_other_body_or_route(self, api, alice):
        client = api(alice)
        post(client)
        others = [
            post(client, {**BODY, "hours": "2.6"}),
            post(client, url=f"{URL}?fields=id"),
            post(client, a_body(), url="/api/v1/tasks/"),
        ]
        assert [(answer.status_code, code_of(answer)) for answer in others] == [(422, "idempotency_key_reused")] * 3
        assert (QuotaRequest.objects.count(), Task.objects.count()) == (1, 0)

    def test_case_26_same_key_two_users(self, api, alice, bob):
        answers = [post(api(user)) for user in (alice, bob)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert set(QuotaRequest.objects.values_list("requested_by", flat=True)) == {alice.pk, bob.pk}

    def test_case_27_an_insufficient_answer_stays_as_it_was_after_a_top_up(self, api, alice, dana):
        client = api(alice)
        body = a_body(hours="11")
        first = post(client, body, url="/api/v1/tasks/")
        grant_hours(account=alice.personal_account, gpu_ms=5 * HOUR, by=dana, reason="More", key="more")
        again = post(client, body, url="/api/v1/tasks/")
        assert (first.status_code, code_of(first)) == (400, "insufficient_quota")
        assert (again.status_code, again.content) == (400, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert post(client, body, key="k-2", url="/api/v1/tasks/").status_code == 201

    def test_case_28_key_after_its_expiry_meets_the_natural_key(self, api, alice, dana):
        asked = request_quota(account=alice.personal_account, gpu_ms=HOUR, by=alice, reason="x")
        client, url = api(dana), f"{URL}{asked.pk}/approve/"
        assert post(client, {}, url=url).status_code == 200
        forgotten()
        again = post(client, {}, url=url)
        assert (again.status_code, code_of(again)) == (409, "wrong_state")
        assert Transfer.objects.filter(key=f"quota_request:{asked.pk}").count() == 1


class TestKey:
    def test_without_one_nothing_is_stored(self, api, alice):
        client = api(alice)
        assert [client.post(URL, BODY, format="json").status_code for _ in range(2)] == [201, 201]
        assert not IdempotencyKey.objects.exists()

    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "ü", "a\tb"])
    def test_it_refuses_one_that_is_none(self, api, alice, key):
        answer = post(api(alice), key=key)
        assert (answer.status_code, code_of(answer)) == (400, "invalid_idempotency_key")
        assert not QuotaRequest.objects.exists()

    def test_it_is_good_for_a_week(self, api, alice):
        client = api(alice)
        first = post(client)
        row = IdempotencyKey.objects.get()
        assert timedelta(days=6, hours=23) < row.expires_at - timezone.now() <= timedelta(days=7)
        forgotten()
        assert post(client).json()["id"] != first.json()["id"]

    def test_the_order_of_a_bodys_keys_does_not_matter(self, api, alice):
        client = api(alice)
        first = post(client, {"hours": "1", "reason": "x"})
        assert post(client, {"reason": "x", "hours": "1"}).content == first.content

    def test_the_last_slash_does_not_matter(self, api, alice):
        client = api(alice)
        assert post(client).content == post(client, url=URL.rstrip("/")).content

    def test_nobody_has_none(self, api):
        url = "/api/v1/auth/register/"
        body = {"email": "new@example.test", "password": "correct horse battery staple"}
        assert [post(api(), body, url=url).status_code for _ in range(2)] == [201, 201]
        assert not IdempotencyKey.objects.exists()

    def test_a_get_takes_no_notice_of_it(self, api, alice):
        assert api(alice).get(URL, headers={"Idempotency-Key": "k"}).status_code == 200
        assert not IdempotencyKey.objects.exists()


class TestWhatIsNotStored:
    @pytest.mark.parametrize(
        ("body", "status"),
        [({"hours": "1"}, 400), ({"hours": "1000001", "reason": "x"}, 400), ("[]", 400), ({**BODY, "x": 1}, 400)],
    )
    def test_a_wrong_body_can_be_put_right_under_the_same_key(self, api, alice, body, status):
        client = api(alice)
        assert post(client, body).status_code == status
        assert not IdempotencyKey.objects.exists()
        assert post(client).status_code == 201

    def test_permission(self, api, alice, charlie):
        asked = request_quota(account=alice.personal_account, gpu_ms=HOUR, by=alice, reason="x")
        for user, status in ((alice, 403), (charlie, 404)):
            assert post(api(user), {}, url=f"{URL}{asked.pk}/approve/").status_code == status
        assert not IdempotencyKey.objects.exists()

    def test_authentication(self, api):
        assert post(api()).status_code == 401
        assert not IdempotencyKey.objects.exists()

    def test_throttle(self, alice):
        view = QuotaRequestViewSet.as_view({"post": "create"}, throttle_classes=[Never])
        request = APIRequestFactory().post(URL, BODY, format="json", headers={"Idempotency-Key": "k"})
        force_authenticate(request, alice)
        assert view(request, version="v1").status_code == 429
        assert not IdempotencyKey.objects.exists()

    def test_a_fault(self, alice):
        answers = [call(Faulty, alice) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 500]
        assert not IdempotencyKey.objects.exists()
        # What it did before it failed went with it.
        assert not QuotaRequest.objects.exists()

    def test_an_answer_that_cannot_be_kept(self, alice):
        assert call(Raw, alice).status_code == 500
        assert not IdempotencyKey.objects.exists()

    def test_a_secret(self, api, olga):
        client = api(olga)
        first = post(client, {"name": "rig"}, url="/api/v1/hosts/")
        again = post(client, {"name": "rig"}, url="/api/v1/hosts/")
        assert first.status_code == 201
        assert (again.status_code, code_of(again)) == (409, "secret_shown_once")
        assert Host.objects.count() == 1
        assert first.json()["join_token"] not in str(IdempotencyKey.objects.values())


class TestConflict:
    def test_a_decision_that_came_too_late_is_told_the_same_again(self, api, alice, dana):
        asked = request_quota(account=alice.personal_account, gpu_ms=HOUR, by=alice, reason="x")
        client, url = api(dana), f"{URL}{asked.pk}/approve/"
        assert client.post(url, {}, format="json").status_code == 200
        first, again = (post(client, {}, url=url) for _ in range(2))
        assert (first.status_code, first.content) == (409, again.content)

    def test_while_the_first_call_is_at_work_it_says_when_to_come_back(self, api, alice):
        post(api(alice))
        IdempotencyKey.objects.update(state="RUNNING", status=None, locked_until=timezone.now() + timedelta(seconds=60))
        answer = post(api(alice))
        assert (answer.status_code, code_of(answer)) == (409, "idempotency_in_progress")
        assert int(answer["Retry-After"]) >= 1

    def test_who_slept_beyond_its_lock_finds_it_taken(self, alice):
        now = clock.now()
        call_of = {"scope": "user:1", "key": "k", "method": "POST", "route": "/", "body_hash": "x"}
        slow = services.claim(**call_of, now=now)
        quick = services.claim(**call_of, now=now + timedelta(seconds=61))
        assert quick.pk == slow.pk
        with pytest.raises(services.IdempotencyInProgress), transaction.atomic():
            services.begin(slow)
        services.let_go(slow)
        with transaction.atomic():
            services.begin(quick)


class TestFiles:
    def test_their_content_counts(self, alice):
        answers = [call(Upload, alice, {"file": SimpleUploadedFile("a.txt", text)}) for text in (b"1", b"1", b"2")]
        assert [answer.status_code for answer in answers] == [200, 200, 422]
        assert answers[1].data == {"size": 1}
        assert answers[1]["Idempotent-Replayed"]


class TestForm:
    def test_a_button_pressed_twice_asks_once(self, alice):
        browser = Client(headers={"accept": "text/html"})
        browser.force_login(alice)
        page = browser.get(URL).content.decode()
        [key] = re.findall(r'name="_idempotency_key" value="([0-9a-f-]{36})"', page)
        form = {"account": "", "hours": "2.5", "reason": "A deadline", "_idempotency_key": key}
        first, again = (browser.post(URL, form) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert again["Idempotent-Replayed"] == "true"
        asked = QuotaRequest.objects.get()
        assert str(asked.pk) in again.content.decode()

    def test_each_page_has_another(self, alice):
        browser = Client(headers={"accept": "text/html"})
        browser.force_login(alice)
        pages = [browser.get(URL).content.decode() for _ in range(2)]
        assert len({re.search(r'_idempotency_key" value="(.{36})"', page).group(1) for page in pages}) == 2


class TestForget:
    def test_it_removes_what_has_expired(self, api, alice):
        post(api(alice))
        services.forget_expired_keys(now=timezone.now())
        assert IdempotencyKey.objects.count() == 1
        forgotten()
        forget_keys()
        assert not IdempotencyKey.objects.exists()


class TestQueries:
    def test_a_replay_is_one_look(self, api, alice, django_assert_num_queries):
        client = api(alice)
        post(client)
        # Who calls, the clock where it is the database's, the key.
        with django_assert_num_queries(3 if connection.vendor == "postgresql" else 2):
            post(client)


@pytest.mark.django_db(transaction=True)
def test_case_24_twenty_in_parallel_have_one_effect(api, alice):
    if connection.vendor != "postgresql":
        pytest.skip("threads with connections of their own want PostgreSQL")
    clients = [api(alice) for _ in range(20)]
    for turn in range(5):
        start, answers = threading.Barrier(20), []

        def run(client, start=start, answers=answers, turn=turn):
            try:
                start.wait()
                answers.append(post(client, key=f"turn-{turn}"))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=[client]) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = [answer for answer in answers if answer.status_code == 201]
        rest = [answer for answer in answers if answer.status_code != 201]
        assert len(answers) == 20
        assert len({answer.content for answer in done}) == 1
        assert sum("Idempotent-Replayed" not in answer for answer in done) == 1
        assert {code_of(answer) for answer in rest} <= {"idempotency_in_progress"}
        assert QuotaRequest.objects.count() == turn + 1


@pytest.mark.django_db(transaction=True)
def test_case_25_a_worker_that_dies_at_any_statement_leaves_one_effect_after_the_retry(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "gaas.outbox.tests.crash_runner"],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {"DATABASE_URL": database_url(tmp_path), "DATABASE_POOL": "0"}
        | {"DJANGO_SETTINGS_MODULE": "gaas.tests.settings"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["wrong"] == []
    assert report["killed"] >= 10
    # Some died with the key in hand, so the retry had to wait for the lock.
    assert report["waited"] >= 3


@pytest.mark.django_db(transaction=True)
def test_a_slow_holder_is_waited_for_not_doubled(alice, settings):
    if connection.vendor != "postgresql":
        pytest.skip("threads with connections of their own want PostgreSQL")
    settings.IDEMPOTENCY_LOCK_SECONDS = 0.2
    is_inside, may_go, answers = threading.Event(), threading.Event(), []

    class Slow(Idempotent, APIView):
        def post(self, request):
            request_quota(account=alice.personal_account, gpu_ms=HOUR, by=alice, reason="x")
            is_inside.set()
            may_go.wait(60)
            return Response({"done": True})

    def run():
        try:
            answers.append(call(Slow, alice))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    assert is_inside.wait(60)
    # Its lock has run out, but it is alive and has the row.
    time.sleep(0.3)
    threads[1].start()
    threads[1].join(1)
    assert threads[1].is_alive()
    may_go.set()
    for thread in threads:
        thread.join()
    assert [answer.data for answer in answers] == [{"done": True}] * 2
    assert QuotaRequest.objects.count() == 1


class Never:
    """Be a throttle that lets nobody pass."""

    def allow_request(self, request, view):
        return False

    def wait(self):
        return 1


class Faulty(Idempotent, APIView):
    def post(self, request):
        account = request.user.personal_account
        request_quota(account=account, gpu_ms=HOUR, by=request.user, reason="x")
        raise ZeroDivisionError


class Raw(Idempotent, APIView):
    def post(self, request):
        return HttpResponse(b"raw")


class Upload(Idempotent, APIView):
    def post(self, request):
        return Response({"size": len(request.data["file"].read())})


def call(view, user, body=None):
    given = {"format": "json"} if body is None else {"format": "multipart"}
    request = APIRequestFactory().post("/x/", body or {}, headers={"Idempotency-Key": "k"}, **given)
    force_authenticate(request, user)
    return view.as_view()(request)
