from __future__ import annotations

import pytest

from accounts.services.tokens import log_out, open_log_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/token/verify/"


class TestVerify:
    def test_it_tells_what_kind_of_token_stands(self, api, alice):
        pair = open_log_in(user=alice)
        assert api().post(URL, {"token": pair.access}, format="json").json() == {"token_type": "access"}
        assert api().post(URL, {"token": pair.refresh}, format="json").json() == {"token_type": "refresh"}

    def test_it_refuses_what_does_not_stand(self, api, alice):
        pair = open_log_in(user=alice)
        log_out(token=pair.refresh)
        for token in (pair.access, pair.refresh, "garbage"):
            answer = api().post(URL, {"token": token}, format="json")
            assert answer.status_code == 401
            assert answer.json()["errors"][0]["code"] == "token_not_valid"

    def test_it_refuses_bad_bodies(self, api):
        assert api().post(URL, {"token": 5}, format="json").status_code == 400
