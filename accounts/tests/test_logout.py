from __future__ import annotations

import pytest

from accounts.services.tokens import open_log_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/logout/"


def refresh(api, pair):
    return api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json").status_code


class TestLogOut:
    def test_it_ends_refresh_and_access_tokens(self, api, alice):
        pair = open_log_in(user=alice)
        client = api()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
        assert client.get("/api/v1/users/me/").status_code == 200
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 204
        assert client.get("/api/v1/users/me/").status_code == 401
        assert api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json").status_code == 401

    def test_it_may_be_repeated(self, api, alice):
        pair = open_log_in(user=alice)
        for _ in range(2):
            assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 204

    def test_it_ends_every_other_log_in_too(self, api, alice, bob):
        here, there, of_bob = open_log_in(user=alice), open_log_in(user=alice), open_log_in(user=bob)
        api().post(URL, {"refresh": here.refresh}, format="json")
        assert refresh(api, there) == 401
        assert refresh(api, of_bob) == 200

    def test_it_ends_one_alone_where_asked_to(self, api, alice):
        here, there = open_log_in(user=alice), open_log_in(user=alice)
        api().post(URL, {"refresh": here.refresh, "everywhere": False}, format="json")
        assert refresh(api, here) == 401
        assert refresh(api, there) == 200

    def test_one_that_has_ended_ends_no_others(self, api, alice):
        old = open_log_in(user=alice)
        api().post(URL, {"refresh": old.refresh}, format="json")
        new = open_log_in(user=alice)
        api().post(URL, {"refresh": old.refresh}, format="json")
        assert refresh(api, new) == 200

    def test_it_refuses_what_is_no_refresh_token(self, api, alice):
        assert api().post(URL, {"refresh": open_log_in(user=alice).access}, format="json").status_code == 401
        assert api().post(URL, {}, format="json").status_code == 400
