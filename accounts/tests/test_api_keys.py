"""api-keys/: what a script calls by instead of a log-in."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone

from accounts.choices import Role
from accounts.models import ApiKey, Membership, User
from accounts.services import keys
from accounts.tests.api_keys import BODY, ME, TASKS, URL, caller, make, refused
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.ids import uuid7
from tasks.tests.rig import HOUR

pytestmark = pytest.mark.django_db


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
