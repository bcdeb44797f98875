"""The first page of the API."""

from __future__ import annotations

from typing import Any

import pytest

URL = "/api/v1/"

pytestmark = pytest.mark.django_db


class TestRoot:
    def test_each_of_its_links_leads_somewhere(self, alice: Any, api: Any) -> None:
        links = api(alice).get(URL).json()
        assert {"me", "accounts", "tasks", "gpus"} <= set(links)
        for link in links.values():
            assert link.startswith("http://testserver/api/v1/")
            assert api(alice).get(link).status_code == 200, link

    def test_it_is_a_page_in_a_browser(self, alice: Any, client: Any) -> None:
        client.force_login(alice)
        page = client.get(URL, headers={"Accept": "text/html"}).content.decode()
        assert 'href="http://testserver/api/v1/tasks/"' in page

    def test_it_stands_above_the_lists(self, alice: Any, client: Any) -> None:
        client.force_login(alice)
        page = client.get("/api/v1/tasks/", headers={"Accept": "text/html"}).content.decode()
        assert 'href="/api/v1/"' in page

    def test_it_asks_who_calls(self, api: Any) -> None:
        assert api().get(URL).status_code == 401
