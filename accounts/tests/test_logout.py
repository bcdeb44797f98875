from __future__ import annotations

import pytest

from accounts.services.tokens import open_log_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/logout/"


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

    def test_it_leaves_other_log_ins_alone(self, api, alice):
        here, there = open_log_in(user=alice), open_log_in(user=alice)
        api().post(URL, {"refresh": here.refresh}, format="json")
        assert api().post("/api/v1/auth/token/refresh/", {"refresh": there.refresh}, format="json").status_code == 200

    def test_it_refuses_what_is_no_refresh_token(self, api, alice):
        assert api().post(URL, {"refresh": open_log_in(user=alice).access}, format="json").status_code == 401
        assert api().post(URL, {}, format="json").status_code == 400
