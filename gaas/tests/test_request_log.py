from __future__ import annotations

import asyncio
import json
import logging.config
import time
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO, StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path
from rest_framework.test import APIClient

from gaas import raw
from gaas.lib import tickets
from gaas.logs import logging_config
from gaas.waits import PATH, Waits


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"abc", b"de"]))


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(BytesIO(b"x" * 70_000), as_attachment=True, filename="f")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("Authorization: Bearer abcdefghijklmnop")


def ok(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"hello")


urlpatterns = [path("stream", stream), path("file", file), path("broken", broken), path("api/ok/", ok)]
handler500 = "gaas.pages.broken"


@pytest.fixture
def lines() -> Iterator[Any]:
    """Write logs as the product does, and give them back parsed, one event a line."""
    raw.later.write_all()  # what other tests left to be written
    written = StringIO()
    config = logging_config(level="INFO", as_json=True)
    for handler in config["handlers"].values():
        handler["stream"] = written
    logging.config.dictConfig(config)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.config.dictConfig(settings.LOGGING)


@pytest.fixture
def web(settings: Any) -> Client:
    settings.ROOT_URLCONF = "gaas.tests.test_request_log"
    return Client(raise_request_exception=False)


class TestRequestLog:
    def test_it_writes_a_line_for_the_request_and_one_for_the_response(self, web: Client, lines: Any) -> None:
        answer = web.get("/api/ok/?ticket=very-secret", headers={"Authorization": "Bearer very-secret-token"})
        request, response = lines()
        assert (request["logger"], request["event"], request["path"]) == ("access", "request", "/api/ok/")
        assert response["event"] == "response"
        assert response["request_id"] == request["request_id"] == answer["X-Request-ID"]
        assert (response["status"], response["size"], response["user"]) == (200, 5, None)
        assert response["duration_ms"] >= 0
        assert (response["method"], response["address"]) == ("GET", "127.0.0.1")
        assert "very-secret" not in json.dumps([request, response])

    @pytest.mark.django_db
    def test_it_names_the_user(self, api: Any, alice: Any, lines: Any) -> None:
        api(alice).get("/api/v1/users/me/")
        assert lines()[-1]["user"] == str(alice.pk)

    @pytest.mark.django_db
    @pytest.mark.parametrize(("url", "size"), [("/stream", 5), ("/file", 70_000)])
    def test_it_counts_what_was_streamed(self, web: Client, lines: Any, url: str, size: int) -> None:
        answer = web.get(url)
        assert len(b"".join(answer.streaming_content)) == size
        answer.close()
        assert [line["size"] for line in lines() if line["event"] == "response"] == [size]

    @pytest.mark.parametrize("given", ["abc-123_.X", "a" * 64])
    def test_it_takes_over_a_harmless_id(self, web: Client, given: str) -> None:
        assert web.get("/api/ok/", headers={"X-Request-ID": given})["X-Request-ID"] == given

    @pytest.mark.parametrize("given", ["", "a" * 65, "a b", "é", "a\nb", "<b>", "a;b", "{{x}}", "a\n"])
    def test_it_makes_one_instead_of_another(self, web: Client, given: str) -> None:
        made = web.get("/api/ok/", headers={"X-Request-ID": given})["X-Request-ID"]
        assert made != given
        assert len(made) == 36

    def test_it_gives_each_call_its_own(self, web: Client) -> None:
        assert web.get("/api/ok/")["X-Request-ID"] != web.get("/api/ok/")["X-Request-ID"]

    def test_it_keeps_one_event_on_one_line_whatever_is_sent(self, web: Client, lines: Any) -> None:
        web.get("/api/x%0d%0a%7B%22event%22:%22forged%22%7D%1b[31m", headers={"User-Agent": "a\x1b[31m\u2028b"})
        assert [line["event"] for line in lines()] == ["request", "response"]

    def test_it_reports_what_broke_once_without_secrets(self, web: Client, lines: Any) -> None:
        answer = web.get("/broken")
        assert answer.status_code == 500
        assert answer["X-Request-ID"]
        reports = [line for line in lines() if line["logger"] == "error"]
        assert len(reports) == 1
        assert reports[0]["request_id"] == answer["X-Request-ID"]
        assert "RuntimeError" in reports[0]["exception"]
        assert "abcdefghijklmnop" not in reports[0]["exception"]

    @override_settings(TRUSTED_PROXIES=1)
    def test_it_writes_the_address_that_a_trusted_proxy_saw(self, web: Client, lines: Any) -> None:
        web.get("/api/ok/", headers={"X-Forwarded-For": "6.6.6.6, 9.9.9.9"})
        assert {line["address"] for line in lines()} == {"9.9.9.9"}

    def test_it_refuses_a_nul_in_the_query_of_a_page(self, web: Client) -> None:
        answer = web.get("/stream?q=%00")
        assert answer.status_code == 400
        assert answer["Content-Type"].startswith("text/html")


class TestWaitsLines:
    """Where thousands are answered at once their lines come after the answers, with the moment of those."""

    @pytest.fixture(autouse=True)
    def much_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leave a busy machine the time to answer them all before the first line is due."""
        monkeypatch.setattr(raw, "LATER_SECONDS", 3)

    @staticmethod
    async def answered(count: int) -> list[float]:
        """Answer some waits in one pass; gives when each was."""
        waits, answered = Waits(), []

        async def receive() -> Any:
            return await asyncio.Event().wait()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                answered.append(time.time())

        waits.bind(asyncio.get_running_loop())
        hosts = [f"0199a0b2-0000-7000-8000-{number:012}" for number in range(count)]
        asking = []
        for host in hosts:
            query = urlencode({"ticket": tickets.issue(purpose="wait", subject=host), "revision": "1"}).encode()
            scope = {"type": "http", "method": "GET", "path": PATH, "query_string": query}
            asking.append(asyncio.ensure_future(waits(scope, receive, send)))
        await asyncio.sleep(0)
        for host in hosts:
            waits.hear(f"host:{host}:2")
        await asyncio.gather(*asking)
        return answered

    def test_all_are_answered_before_the_first_line(self, lines: Any) -> None:
        async def scene() -> tuple[list[float], int, list[Any]]:
            answered = await self.answered(50)
            early = len(lines())
            while len(lines()) < 50:
                await asyncio.sleep(0.05)
            return answered, early, lines()

        answered, early, written = asyncio.run(asyncio.wait_for(scene(), 60))
        assert (len(answered), early, len(written)) == (50, 0, 50)
        assert {(line["path"], line["status"], line["logger"]) for line in written} == {(PATH, 200, "access")}
        told = [datetime.fromisoformat(line["at"]).timestamp() for line in written]
        assert max(told) < answered[-1] + raw.LATER_SECONDS / 2

    def test_none_is_lost_with_the_loop(self, lines: Any) -> None:
        asyncio.run(self.answered(20))
        raw.later.write_all()
        assert len(lines()) == 20
        # and another loop has its lines written, too
        self.test_all_are_answered_before_the_first_line(lambda: lines()[20:])


@pytest.mark.django_db
class TestSlashOptional:
    @pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
    def test_it_answers_the_same_without_the_slash(self, api: Any, alice: Any, method: str) -> None:
        call = getattr(api(alice), method)
        assert call("/api/v1/accounts").status_code == call("/api/v1/accounts/").status_code
        assert call("/api/v1/accounts").status_code not in {301, 302, 307, 308, 404}

    def test_it_takes_a_slash_that_a_route_lacks(self, api: Any) -> None:
        assert api().post("/api/agent/v1/join/", {}, format="json").status_code == 400
        assert api().post("/api/agent/v1/join", {}, format="json").status_code == 400

    def test_it_links_pages_by_their_own_path(self, api: Any, alice: Any) -> None:
        for n in range(2):
            alice.personal_account.quota_requests.create(gpu_ms=1000 + n, reason="x", requested_by=alice)
        following = api(alice).get("/api/v1/quota-requests?page_size=1").json()["next"]
        assert "/api/v1/quota-requests/?" in following
        assert api(alice).get(following).status_code == 200

    @pytest.mark.parametrize("path", ["/v1/models/", "/livez/", "/admin", "/api/v1/nowhere", "/api/v1/accounts//"])
    def test_it_leaves_other_paths_alone(self, api: Any, path: str) -> None:
        answer = APIClient().get(path)
        assert answer.status_code in {401, 404} or path == "/admin"
