"""api-keys/: what a script calls by instead of a log-in."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Role, Scope
from accounts.ledger import check
from accounts.ledger.models import Cap
from accounts.models import Account, ApiKey, Membership, User
from accounts.services import balances_of, grant_hours, keys, request_quota
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.ids import uuid7
from tasks import services as tasks
from tasks.models import Task
from tasks.tests.rig import HOUR, a_body, a_task, top_up

pytestmark = pytest.mark.django_db

URL = "/api/v1/api-keys/"
ME = "/api/v1/users/me/"
TASKS = "/api/v1/tasks/"
ALL = [scope for scope in Scope.values if scope != Scope.APPROVALS_WRITE]
BODY = {"name": "CI", "scopes": ["tasks:read", "tasks:write"]}


def make(user, *scopes, **terms):
    return keys.create_key(user=user, name="CI", scopes=scopes or ALL, now=clock.now(), **terms)


def caller(text, scheme="Api-Key", **extra):
    return APIClient(HTTP_AUTHORIZATION=f"{scheme} {text}", **extra)


def grant(account):
    grant_hours(account=account, gpu_ms=10 * HOUR, by=None, reason="x", key=f"test:{account.pk}")


def code_of(answer):
    return answer.json()["errors"][0]["code"]


def refused(answer, status, code):
    assert (answer.status_code, code_of(answer)) == (status, code), answer.content
    return True


class TestCreate:
    def test_it_shows_the_secret_once(self, api, alice):
        client = api(alice)
        answer = client.post(URL, BODY, format="json")
        assert answer.status_code == 201
        body = answer.json()
        assert body["secret"].startswith(f"gaas_{body['prefix']}_")
        assert answer["Cache-Control"] == "no-store"
        assert caller(body["secret"]).get(TASKS).status_code == 200
        for shown in (client.get(URL), client.get(f"{URL}{body['id']}/")):
            assert body["secret"] not in shown.content.decode()
            assert "secret" not in str(shown.json())

    def test_nothing_that_is_stored_tells_the_secret(self, alice):
        _, text = make(alice)
        secret = text.split("_", 2)[2]
        assert secret not in str(ApiKey.objects.values()) + str(AuditEvent.objects.values())

    def test_the_hash_needs_the_servers_key(self, alice, settings):
        _, text = make(alice)
        settings.SECRET_KEY = "x" * 60
        assert refused(caller(text).get(TASKS), 401, "key_not_valid")

    def test_all_terms_are_kept(self, api, alice, lab):
        terms = {
            "account": str(lab.pk),
            "expires_at": (timezone.now() + timedelta(days=30)).isoformat(),
            "allow_list": ["192.0.2.7", "2001:db8::1/32"],
            "cap_hours": "2.5",
            "cap_usd": 3,
            "cap_period": "day",
        }
        body = api(alice).post(URL, {**BODY, **terms}, format="json").json()
        assert (body["account"], body["allow_list"]) == (str(lab.pk), ["192.0.2.7/32", "2001:db8::/32"])
        assert (body["cap_hours"], body["cap_gpu_ms"], body["used_hours"]) == ("2.500000", 9_000_000, "0.000000")
        assert (body["cap_usd"], body["cap_microusd"], body["used_microusd"]) == ("3.000000", 3_000_000, 0)
        assert (body["cap_period"], body["scopes"], body["is_live"]) == ("day", ["tasks:read", "tasks:write"], True)

    def test_it_is_recorded(self, alice):
        key, _ = make(alice)
        event = AuditEvent.objects.get(action="api_key.create")
        assert (event.actor, event.object_id, event.after["prefix"]) == (alice, str(key.pk), key.prefix)

    @pytest.mark.parametrize(
        ("changes", "attr"),
        [
            ({"name": ""}, "name"),
            ({"name": "a\u0000"}, "name"),
            ({"scopes": []}, "scopes"),
            ({"scopes": "tasks:read"}, "scopes"),
            ({"scopes": ["all"]}, "scopes"),
            ({"scopes": [["tasks:read"]]}, "scopes"),
            ({"scopes": [{}]}, "scopes"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
            ({"expires_at": "soon"}, "expires_at"),
            ({"allow_list": ["example.org"]}, "allow_list.0"),
            ({"allow_list": ["10.0.0.0/33"]}, "allow_list.0"),
            ({"allow_list": [1]}, "allow_list.0"),
            ({"allow_list": ["10.0.0.1"] * 51}, "allow_list"),
            ({"cap_hours": 1.5}, "cap_hours"),
            ({"cap_usd": "-1"}, "cap_usd"),
            ({"cap_period": "year"}, "cap_period"),
            ({"prefix": "mine"}, "prefix"),
            ({"user": "x"}, "user"),
            ({"account": "x"}, "account"),
        ],
    )
    def test_it_names_what_is_wrong_and_stores_nothing(self, api, alice, changes, attr):
        answer = api(alice).post(URL, {**BODY, **changes}, format="json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"].startswith(attr)
        assert not ApiKey.objects.exists()

    def test_a_foreign_account_is_as_an_unknown_one(self, api, charlie, lab):
        answers = [api(charlie).post(URL, {**BODY, "account": str(id_)}, format="json") for id_ in (lab.pk, uuid7())]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["errors"] == answers[1].json()["errors"]

    def test_scopes_beyond_ones_own_are_refused(self, api, alice, charlie, dana, lab, pat, family):
        deciding = {**BODY, "scopes": ["approvals:write"]}
        assert refused(api(charlie).post(URL, deciding, format="json"), 403, "scope_not_yours")
        for user in (dana, pat):
            assert api(user).post(URL, deciding, format="json").status_code == 201
        Membership.objects.create(account=lab, user=charlie, role=Role.VIEWER)
        viewing = {"name": "x", "account": str(lab.pk)}
        answer = api(charlie).post(URL, {**viewing, "scopes": ["tasks:write"]}, format="json")
        assert refused(answer, 403, "scope_not_yours")
        assert api(charlie).post(URL, {**viewing, "scopes": ["tasks:read"]}, format="json").status_code == 201

    def test_there_is_an_end_to_them(self, api, alice):
        for _ in range(keys.MAX_LIVE_KEYS):
            key, _ = make(alice)
        client = api(alice)
        assert refused(client.post(URL, BODY, format="json"), 409, "too_many_keys")
        key.revoke(by=alice, now=clock.now())
        assert client.post(URL, BODY, format="json").status_code == 201

    def test_the_same_call_again_makes_no_second_one_and_tells_no_secret(self, api, alice):
        client, headers = api(alice), {"Idempotency-Key": "k"}
        assert client.post(URL, BODY, format="json", headers=headers).status_code == 201
        assert refused(client.post(URL, BODY, format="json", headers=headers), 409, "secret_shown_once")
        assert ApiKey.objects.count() == 1

    def test_a_browser_has_a_form_for_it(self, client, alice):
        client.force_login(alice)
        page = client.get(URL, headers={"accept": "text/html"}).content.decode()
        assert 'name="scopes"' in page
        form = {"name": "CI", "scopes": ["tasks:read", "gpus:read"]}
        assert client.post(URL, form, headers={"accept": "text/html"}).status_code == 201
        assert ApiKey.objects.get().scopes == ["gpus:read", "tasks:read"]


class TestList:
    def test_one_sees_ones_own(self, api, alice, bob):
        mine, _ = make(alice)
        theirs, _ = make(bob)
        assert [row["id"] for row in api(alice).get(URL).json()["results"]] == [str(mine.pk)]
        for call in (api(alice).get, api(alice).delete):
            assert call(f"{URL}{mine.pk}/").status_code != 404
            assert call(f"{URL}{theirs.pk}/").status_code in (404, 405)
        for verb in ("rotate", "revoke"):
            assert api(alice).post(f"{URL}{theirs.pk}/{verb}/", {}, format="json").status_code == 404
        assert caller(make(bob)[1]).get(ME).status_code == 200

    def test_it_costs_the_same_for_many(self, api, alice, django_assert_num_queries):
        for _ in range(5):
            make(alice, cap_gpu_ms=HOUR)
        client = api(alice)
        # The caller, the page, what was used, the clock where it is the database's.
        with django_assert_num_queries(4 if connection.vendor == "postgresql" else 3):
            assert len(client.get(URL).json()["results"]) == 5


class TestAuthentication:
    @pytest.mark.parametrize("scheme", ["Api-Key", "api-key", "Bearer", "bearer"])
    def test_either_scheme_is_taken(self, alice, scheme):
        answer = caller(make(alice)[1], scheme).get(ME)
        assert (answer.status_code, answer.json()["email"]) == (200, alice.email)

    def test_it_is_one_query(self, alice, django_assert_num_queries):
        client = caller(make(alice)[1])
        client.get(ME)
        # The key with its user, and the personal account that the answer shows.
        with django_assert_num_queries(2):
            client.get(ME)

    def test_a_use_is_noted_once_a_minute(self, alice):
        key, text = make(alice)
        client = caller(text)
        client.get(ME)
        key.refresh_from_db()
        first = key.last_used_at
        assert abs(timezone.now() - first) < timedelta(seconds=30)
        client.get(ME)
        key.refresh_from_db()
        assert key.last_used_at == first
        ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
        client.get(ME)
        key.refresh_from_db()
        assert key.last_used_at >= first

    @pytest.mark.parametrize("scheme", ["Api-Key", "Bearer"])
    def test_what_is_no_key_is_refused(self, alice, scheme):
        key, text = make(alice)
        wrong = [
            "gaas_",
            "gaas__",
            f"gaas_{key.prefix}",
            f"gaas_{key.prefix}_",
            text[:-1],
            text + "x",
            text.swapcase(),
            f"gaas_{key.prefix}_{key.secret_hash}",
            "gaas_" + "x" * 20_000,
            "gaas_ü_ü",
        ]
        for each in wrong:
            assert caller(each, scheme).get(ME).status_code == 401, each
        assert caller(text, scheme).get(ME).status_code == 200

    def test_other_words_for_a_key_say_the_same(self, alice):
        revoked, _ = make(alice)
        revoked.revoke(by=alice, now=clock.now())
        gone, text_of_gone = make(alice, expires_at=timezone.now() + timedelta(days=1))
        ApiKey.objects.filter(pk=gone.pk).update(expires_at=timezone.now())
        elsewhere = make(alice, allow_list=["192.0.2.0/24"])[1]
        answers = [caller(text).get(ME) for text in ("gaas_a_b", text_of_gone, elsewhere)]
        assert {answer.status_code for answer in answers} == {401}
        assert len({str(answer.json()["errors"]) for answer in answers}) == 1
        assert all(answer["WWW-Authenticate"] for answer in answers)

    def test_a_switched_off_users_key_is_refused(self, alice):
        _, text = make(alice)
        assert caller(text).get(ME).status_code == 200
        User.objects.filter(pk=alice.pk).update(is_active=False)
        assert refused(caller(text).get(ME), 401, "key_not_valid")

    def test_its_networks_bound_where_it_is_used(self, alice, settings):
        _, text = make(alice, allow_list=["192.0.2.0/24", "2001:db8::/32"])
        for address, status in (("192.0.2.9", 200), ("2001:db8::9", 200), ("192.0.3.1", 401), ("", 401)):
            assert caller(text, REMOTE_ADDR=address).get(ME).status_code == status, address
        # Without a proxy that is trusted, a header is the caller's own words.
        assert caller(text, REMOTE_ADDR="203.0.113.1", HTTP_X_FORWARDED_FOR="192.0.2.9").get(ME).status_code == 401

    def test_a_token_is_no_key(self, api, alice):
        token = api(alice)._credentials["HTTP_AUTHORIZATION"].split()[1]
        assert caller(token).get(ME).status_code == 401
        assert caller(token, "Bearer").get(ME).status_code == 200


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
        assert client.post(TASKS, a_body(account=personal), format="json").status_code == 400
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


class TestRotate:
    def test_both_are_good_for_the_overlap(self, api, alice):
        key, old = make(alice, "tasks:read", cap_gpu_ms=5, allow_list=["127.0.0.0/8"])
        answer = api(alice).post(f"{URL}{key.pk}/rotate/", {"overlap_seconds": 60}, format="json")
        assert answer.status_code == 201
        body = answer.json()
        assert (body["scopes"], body["cap_gpu_ms"], body["allow_list"]) == (["tasks:read"], 5, ["127.0.0.0/8"])
        assert caller(old).get(TASKS).status_code == caller(body["secret"]).get(TASKS).status_code == 200
        key.refresh_from_db()
        assert str(key.replaced_by_id) == body["id"]
        ApiKey.objects.filter(pk=key.pk).update(overlap_until=timezone.now())
        assert caller(old).get(TASKS).status_code == 401
        assert caller(body["secret"]).get(TASKS).status_code == 200
        assert AuditEvent.objects.get(action="api_key.rotate").after["prefix"] == body["prefix"]

    def test_without_overlap_the_old_one_is_over_at_once(self, api, alice):
        key, old = make(alice)
        api(alice).post(f"{URL}{key.pk}/rotate/", {"overlap_seconds": 0}, format="json")
        assert caller(old).get(ME).status_code == 401

    def test_it_is_done_once(self, api, alice):
        key, _ = make(alice)
        url = f"{URL}{key.pk}/rotate/"
        assert api(alice).post(url, {}, format="json").status_code == 201
        assert refused(api(alice).post(url, {}, format="json"), 409, "wrong_state")
        assert ApiKey.objects.count() == 2

    def test_a_dead_key_has_no_successor(self, api, alice):
        key, _ = make(alice)
        key.revoke(by=alice, now=clock.now())
        assert refused(api(alice).post(f"{URL}{key.pk}/rotate/", {}, format="json"), 409, "wrong_state")

    @pytest.mark.parametrize("overlap", [-1, 604_801, 1.5, "60", None, True])
    def test_it_refuses_an_overlap_that_is_none(self, api, alice, overlap):
        key, _ = make(alice)
        answer = api(alice).post(f"{URL}{key.pk}/rotate/", {"overlap_seconds": overlap}, format="json")
        assert answer.status_code == 400
        assert ApiKey.objects.count() == 1


class TestRevoke:
    def test_it_is_over_at_once(self, api, alice):
        key, text = make(alice)
        answer = api(alice).post(f"{URL}{key.pk}/revoke/", {"reason": "Leaked"}, format="json")
        assert (answer.status_code, answer.json()["is_live"]) == (200, False)
        assert caller(text).get(ME).status_code == 401
        assert AuditEvent.objects.get(action="api_key.revoke").reason == "Leaked"
        assert refused(api(alice).post(f"{URL}{key.pk}/revoke/", {}, format="json"), 409, "wrong_state")

    def test_staff_revoke_in_the_admin(self, client, root, dana, alice):
        key, _ = make(alice)
        client.force_login(dana)
        assert client.get(reverse("admin:accounts_apikey_changelist")).status_code == 200
        page = client.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()
        assert key.prefix in page
        assert key.secret_hash not in page
        url = reverse("admin:accounts_apikey_revoke", args=[key.pk])
        client.post(url, {"reason": "Leaked"}, follow=True)
        key.refresh_from_db()
        assert key.revoked_at is not None
        assert AuditEvent.objects.get(action="api_key.revoke").actor == dana


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


@pytest.mark.django_db(transaction=True)
def test_of_eight_parallel_rotations_one_wins(alice):
    if connection.vendor != "postgresql":
        pytest.skip("threads with connections of their own want PostgreSQL")
    key, _ = make(alice)
    start, done = threading.Barrier(8), []

    def run():
        try:
            start.wait()
            done.append(keys.rotate_key(key=key, by=alice, overlap=timedelta(0), now=clock.now()))
        except keys.Conflict:
            pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert ApiKey.objects.count() == 2
