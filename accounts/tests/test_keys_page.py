from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client

from accounts.models import ApiKey
from accounts.services import keys
from gaas.lib import clock

pytestmark = pytest.mark.django_db

URL = "/accounts/keys/"


@pytest.fixture
def web(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def key(alice):
    return keys.create_key(user=alice, name="CI", scopes=["tasks:read"], now=clock.now())[0]


def create(**more):
    return {"do": "create_key", "of": "", "name": "CI", "scopes": ["tasks:read"], "cap_period": "month", **more}


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def secret_of(answer):
    found = re.search(r"gaas_[0-9a-f]+_[\w-]{20,}", text(answer))
    return found[0] if found else None


class TestKeysPage:
    def test_it_explains_each_scope_and_says_what_to_do_first(self, web):
        shown = text(web.get(URL))
        assert "None yet" in shown
        assert "tasks:write: Submit, cancel and retry tasks" in shown

    def test_it_makes_a_key_that_works_and_shows_it_once(self, web, api):
        answer = web.post(URL, create())
        assert "no-store" in answer["Cache-Control"]
        secret = secret_of(answer)
        headers = {"Authorization": f"Bearer {secret}"}
        assert Client().get("/api/v1/tasks/", headers=headers).status_code == 200
        assert Client().get("/api/v1/accounts/", headers=headers).status_code == 403
        assert secret_of(web.get(URL)) is None

    def test_it_takes_every_term(self, web, lab):
        tomorrow = clock.now().date() + timedelta(days=1)
        terms = create(
            account=str(lab.pk),
            expires_on=tomorrow.isoformat(),
            allow_list="10.1.2.3\r\n\r\n2001:db8::/32",
            cap_gpu_ms="2.5",
            cap_microusd="0",
            cap_period="week",
        )
        assert secret_of(web.post(URL, terms))
        made = ApiKey.objects.get()
        assert made.account == lab
        assert made.allow_list == ["10.1.2.3/32", "2001:db8::/32"]
        assert (made.cap_gpu_ms, made.cap_microusd, made.cap_period) == (9_000_000, 0, "week")
        assert made.expires_at.isoformat() == f"{tomorrow + timedelta(days=1)}T00:00:00+00:00"
        shown = text(web.get(URL))
        assert "0 GPU-hours of 2.5 GPU-hours a week" in shown
        assert "In Lab and below" in shown

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "a\u202eb"}, "name"),
            ({"scopes": []}, "scopes"),
            ({"scopes": ["all"]}, "scopes"),
            ({"account": "x"}, "account"),
            ({"expires_on": "2020-01-01"}, "expires_on"),
            ({"expires_on": "9999-12-31"}, "expires_on"),
            ({"allow_list": "here"}, "allow_list"),
            ({"allow_list": "10.0.0.1\n" * 51}, "allow_list"),
            ({"cap_gpu_ms": "-1"}, "cap_gpu_ms"),
            ({"cap_microusd": "1e3"}, "cap_microusd"),
            ({"cap_period": "year"}, "cap_period"),
        ],
    )
    def test_it_says_beside_each_field_what_is_wrong(self, web, wrong, field):
        answer = web.post(URL, create(**wrong))
        text(answer, 400)
        assert answer.context["create"].errors[field]
        assert not ApiKey.objects.exists()

    def test_a_scope_beyond_ones_own_is_refused(self, web, bob):
        answer = web.post(URL, create(scopes=["approvals:write"]))
        assert "You decide on nothing" in text(answer, 403)
        assert answer.context["create"].errors["scopes"]

    def test_an_account_of_others_is_not_there(self, web, charlie):
        answer = web.post(URL, create(account=str(charlie.personal_account.pk)))
        assert "No such account" in text(answer, 404)

    def test_it_rotates(self, web, key):
        secret = secret_of(web.post(URL, {"do": "rotate_key", "of": str(key.pk), "overlap": "3600"}))
        assert secret
        key.refresh_from_db()
        assert key.replaced_by.prefix == secret.split("_")[1]
        assert "Replaced; it ends on" in text(web.get(URL))
        text(web.post(URL, {"do": "rotate_key", "of": str(key.pk), "overlap": "3600"}), 409)

    @pytest.mark.parametrize("overlap", ["", "-1", "9999999999", "x"])
    def test_it_rotates_with_the_overlaps_there_are(self, web, key, overlap):
        text(web.post(URL, {"do": "rotate_key", "of": str(key.pk), "overlap": overlap}), 400)

    def test_it_revokes_and_lists_it_among_the_ended(self, web, key):
        assert web.post(URL, {"do": "revoke_key", "of": str(key.pk), "reason": "Lost"}).status_code == 302
        key.refresh_from_db()
        assert key.revoked_at is not None
        assert f"gaas_{key.prefix}" not in text(web.get(URL))
        assert f"gaas_{key.prefix}" in text(web.get(URL, {"which": "ended"}))
        assert "revoked already" in text(web.post(URL, {"do": "revoke_key", "of": str(key.pk)}), 409)

    @pytest.mark.parametrize("verb", ["rotate_key", "revoke_key"])
    def test_another_s_key_is_out_of_reach(self, client, key, bob, verb):
        client.force_login(bob)
        assert f"gaas_{key.prefix}" not in text(client.get(URL))
        text(client.post(URL, {"do": verb, "of": str(key.pk), "overlap": "0"}), 404)
        key.refresh_from_db()
        assert (key.revoked_at, key.replaced_by) == (None, None)

    def test_it_takes_no_key_for_a_log_in(self, alice):
        _, secret = keys.create_key(user=alice, name="CI", scopes=["accounts:write"], now=clock.now())
        assert Client().get(URL, headers={"Authorization": f"Bearer {secret}"}).status_code == 302

    def test_it_wants_its_own_token(self, alice):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(alice)
        assert strict.post(URL, create()).status_code == 403

    def test_its_queries_do_not_grow(self, web, alice, lab, django_assert_max_num_queries):
        for number in range(30):
            keys.create_key(user=alice, account=lab, name=f"k{number}", scopes=["tasks:read"], now=clock.now())
        with django_assert_max_num_queries(12):
            shown = text(web.get(URL))
        assert "Page 1 of 2" in shown
