from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gaas.lib.rest.throttles import _count


class TestThrottle:
    def test_it_refuses_the_call_after_the_last(self, client: Any, rates: Any) -> None:
        rates(quote="3/min")
        assert [client.get("/api/v1/counted/").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        answer = client.get("/api/v1/counted/")
        assert 1 <= int(answer["Retry-After"]) <= 60
        assert answer.json()["errors"][0]["code"] == "throttled"

    def test_it_eats_no_other_scope(self, client: Any, rates: Any) -> None:
        rates(quote="1/min", refresh="1/min")
        assert [client.get("/api/v1/counted/").status_code for _ in range(2)] == [200, 429]
        assert client.get("/api/v1/other/").status_code == 200

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"])
    def test_it_is_not_fooled_by_a_header(self, client: Any, rates: Any, header: str) -> None:
        rates(quote="5/min")
        statuses = [client.get("/api/v1/counted/", headers={header: f"10.0.0.{n}"}).status_code for n in range(12)]
        assert statuses == [200] * 5 + [429] * 7

    def test_it_counts_by_what_a_trusted_proxy_saw(self, client: Any, rates: Any, settings: Any) -> None:
        settings.TRUSTED_PROXIES = 1
        rates(quote="1/min")

        def call(forwarded: str) -> int:
            return int(client.get("/api/v1/counted/", HTTP_X_FORWARDED_FOR=forwarded).status_code)

        assert call("10.0.0.1") == 200
        assert call("10.0.0.2") == 200
        assert call("6.6.6.6, 10.0.0.1") == 429
        assert call("2001:db8::1") == 200
        assert call("2001:db8::2") == 429  # the same customer's /64

    def test_it_counts_each_call_once_however_many_come_at_once(self) -> None:
        with ThreadPoolExecutor(16) as pool:
            counts = list(pool.map(lambda _: _count("scope", "who", 60)[0], range(400)))
        assert sorted(counts) == list(range(1, 401))

    def test_it_opens_again_when_the_window_is_over(self) -> None:
        import time

        assert _count("scope", "who", 3)[0] == 1
        assert _count("scope", "who", 3)[0] == 2
        time.sleep(3.1)
        assert _count("scope", "who", 3)[0] == 1


class TestTokenThrottle:
    def test_it_counts_by_account_whatever_the_case(self, client: Any, rates: Any) -> None:
        rates(token="2/min", token_address="100/min")
        tries = ["a@example.test", "A@Example.test", " a@EXAMPLE.test ", "b@example.test"]
        statuses = [client.post("/api/v1/log-in/", {"email": e}, format="json").status_code for e in tries]
        assert statuses == [200, 200, 429, 200]

    def test_it_counts_by_account_however_its_domain_is_written(self, client: Any, rates: Any) -> None:
        rates(token="2/min", token_address="100/min")
        tries = ["a@xn--mnchen-3ya.test", "a@münchen.test", "A@MÜNCHEN.test", "a@" + "ü" * 500_000]
        statuses = [client.post("/api/v1/log-in/", {"email": e}, format="json").status_code for e in tries]
        assert statuses == [200, 200, 429, 200]

    def test_it_counts_by_address_whatever_the_account(self, client: Any, rates: Any) -> None:
        rates(token="100/min", token_address="3/min")
        statuses = [
            client.post("/api/v1/log-in/", {"email": f"{n}@example.test"}, format="json").status_code for n in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]

    @pytest.mark.parametrize("body", ["[]", "{}", '{"email": null}', '{"email": ["a"]}', '{"email": "\\u0000"}', "{"])
    def test_it_survives_a_body_without_an_account(self, post: Any, body: str) -> None:
        assert post(body, path="/api/v1/log-in/").status_code in {200, 400}


class TestCacheAway:
    """The shared cache is an address where nothing listens."""

    @pytest.fixture(autouse=True)
    def _away(self, _kit: None, settings: Any) -> Iterator[None]:
        here = settings.CACHES
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://127.0.0.1:1/0",
            }
        }
        yield
        settings.CACHES = here

    def test_ordinary_calls_go_on(self, client: Any, rates: Any) -> None:
        rates(quote="1/min")
        assert [client.get("/api/v1/counted/").status_code for _ in range(2)] == [200, 200]

    def test_log_ins_do_not(self, client: Any) -> None:
        answer = client.post("/api/v1/log-in/", {"email": "a@example.test"}, format="json")
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["code"] == "cannot_count"
        assert int(answer["Retry-After"]) > 0
