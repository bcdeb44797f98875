from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType

pytestmark = pytest.mark.django_db

LIST = "/api/v1/permissions/"


@pytest.fixture(autouse=True)
def rows() -> list[Permission]:
    """Seven permissions on two content types, some alike in name."""
    Permission.objects.all().delete()
    kinds = list(ContentType.objects.order_by("id")[:2])
    ContentType.objects.exclude(pk__in=[kind.pk for kind in kinds]).delete()
    return [
        Permission.objects.create(codename=f"code{n % 3}-{n}", name=f"n{n}", content_type=kinds[n % 2])
        for n in range(7)
    ]


def error(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 400, answer.content
    return answer.json()["errors"][0]


class TestStrictFilterBackend:
    def test_it_filters(self, client: Any, rows: Any) -> None:
        assert [r["codename"] for r in client.get(LIST, {"codename": "code1-1"}).json()["results"]] == ["code1-1"]

    @pytest.mark.parametrize(
        "name", ["owner", "owner__password__startswith", "codename__startswith", "pk", "offset", "page", "x\r\ny", ""]
    )
    def test_it_names_a_filter_that_it_does_not_know(self, client: Any, name: str) -> None:
        found = error(client.get(f"{LIST}?{quote(name)}=1"))
        assert found["code"] == "unknown_filter"
        assert found["attr"] == (name or "?")
        assert "codename" in found["detail"]

    def test_it_does_so_on_one_object_too(self, client: Any, rows: Any) -> None:
        assert error(client.get(f"{LIST}{rows[0].pk}/?owner=1"))["code"] == "unknown_filter"

    def test_it_lets_the_framework_s_own_pass(self, client: Any) -> None:
        assert client.get(LIST, {"format": "json"}).status_code == 200

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("flag", "banana"),
            ("flag", "1"),
            ("since", "yesterday"),
            ("since", "0001-01-01T00:00:00+14:00"),
            ("since", "9999-12-31T23:59:59-14:00"),
            ("most", "1_0"),
            ("most", "1.5"),
            ("most", "NaN"),
            ("most", "1e400"),
            ("most", "9" * 400),
            ("usd", "1e3"),
            ("usd", "1.0000001"),
            ("hours", "-1"),
            ("hours", "two"),
        ],
    )
    def test_it_refuses_a_bad_value(self, client: Any, name: str, value: str) -> None:
        assert error(client.get(LIST, {name: value}))["attr"] == name

    @pytest.mark.parametrize(
        ("name", "value"),
        [("flag", "true"), ("since", "2020-01-01T00:00:00Z"), ("most", "999999999999999999"), ("usd", "0")],
    )
    def test_it_takes_a_good_one(self, client: Any, name: str, value: str) -> None:
        assert len(client.get(LIST, {name: value}).json()["results"]) == 7

    @pytest.mark.parametrize("value", ["' OR 1=1 --", "%", "\\", "x" * 5000, "\U0001f600"])
    def test_it_finds_nothing_by_a_hostile_text(self, client: Any, value: str) -> None:
        assert client.get(LIST, {"codename": value}).json()["results"] == []

    @pytest.mark.parametrize("query", ["codename=%00", "%00=1", "codename=a%00b&x"])
    def test_it_refuses_a_nul(self, client: Any, query: str) -> None:
        assert error(client.get(f"{LIST}?{query}"))["code"] == "bad_request"


class TestStrictOrderingFilter:
    def test_it_orders(self, client: Any, rows: Any) -> None:
        names = [r["codename"] for r in client.get(LIST, {"ordering": "codename"}).json()["results"]]
        assert names == sorted(names)

    @pytest.mark.parametrize(
        "value",
        ["name", "codename,name", "-password", "content_type__model__x", "?", "", ",", "--id", "id,-id", "id;drop"],
    )
    def test_it_refuses_another(self, client: Any, value: str) -> None:
        found = error(client.get(LIST, {"ordering": value}))
        assert (found["code"], found["attr"]) == ("unknown_ordering", "ordering")


class TestSparseFields:
    def test_it_gives_some_of_the_fields(self, client: Any, rows: Any) -> None:
        assert set(client.get(LIST, {"fields": "id"}).json()["results"][0]) == {"id"}
        assert set(client.get(f"{LIST}{rows[0].pk}/", {"fields": "codename"}).json()) == {"codename"}

    @pytest.mark.parametrize("value", ["password", "id,password", "", "id,"])
    def test_it_names_one_that_is_not_there(self, client: Any, value: str) -> None:
        found = error(client.get(LIST, {"fields": value}))
        assert (found["code"], found["attr"]) == ("unknown_field", "fields")


class TestKeysetPagination:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
    @pytest.mark.parametrize(
        "ordering",
        [
            None,
            "id",
            "-codename",
            "content_type_id",
            "-content_type_id",
            "content_type__model,-codename",
            "maybe",
            "-maybe",
            "maybe,-codename",
        ],
    )
    def test_it_walks_there_and_back(
        self, client: Any, rows: Any, django_assert_max_num_queries: Any, ordering: str | None, size: int
    ) -> None:
        # Content type 1 reads as NULL in `maybe`; both ways round, each row comes once.
        whole = client.get(LIST, {"ordering": ordering} if ordering else {}).json()
        ids = [row["id"] for row in whole["results"]]
        assert len(set(ids)) == 7
        assert whole["next"] is None
        assert whole["previous"] is None
        there, back = [], []
        params = {"page_size": str(size)} | ({"ordering": ordering} if ordering else {})
        page = client.get(LIST, params).json()
        while True:
            there += [row["id"] for row in page["results"]]
            if page["next"] is None:
                break
            page = client.get(page["next"]).json()
        assert there == ids
        while True:
            back = [row["id"] for row in page["results"]] + back
            if page["previous"] is None:
                break
            page = client.get(page["previous"]).json()
        assert back == ids

    def test_it_skips_and_doubles_nothing_when_rows_come_and_go(self, client: Any, rows: Any) -> None:
        page = client.get(LIST, {"page_size": "3"}).json()
        seen = [row["id"] for row in page["results"]]
        Permission.objects.create(codename="new", name="new", content_type=rows[0].content_type)
        Permission.objects.filter(pk=seen[-1]).delete()
        rest = [row["id"] for row in client.get(page["next"]).json()["results"]]
        assert rest == [row.pk for row in reversed(rows)][3:6]

    def test_it_takes_one_query(self, client: Any, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1):
            client.get(LIST)

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "cD0x", "cj0xJnA9NDg3", "bz0xMDAw", "1:2:3", "e30:abc", "é", "A" * 5000, "' OR 1=1", "null"],
    )
    def test_it_refuses_a_cursor_that_is_none_of_its_own(self, client: Any, cursor: str) -> None:
        found = error(client.get(LIST, {"cursor": cursor}))
        assert (found["code"], found["attr"]) == ("invalid_cursor", "cursor")

    def test_it_refuses_a_cursor_of_another_order(self, client: Any) -> None:
        following = client.get(LIST, {"page_size": "2"}).json()["next"]
        assert error(client.get(f"{following}&ordering=codename"))["code"] == "invalid_cursor"

    @pytest.mark.parametrize("size", ["0", "-1", "201", "abc", "1_0", "1.0", "", "１", "9" * 400, "1e2", " 5"])
    def test_it_refuses_a_size_out_of_bounds(self, client: Any, size: str) -> None:
        assert error(client.get(LIST, {"page_size": size}))["attr"] == "page_size"


class TestETag:
    def test_it_saves_the_way_of_what_is_known(self, client: Any, rows: Any) -> None:
        path = f"{LIST}{rows[0].pk}/"
        first = client.get(path)
        assert first.status_code == 200
        again = client.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
        assert client.get(path, HTTP_IF_NONE_MATCH=f"W/{first['ETag']}").status_code == 304

    def test_it_changes_with_the_content(self, client: Any, rows: Any) -> None:
        path = f"{LIST}{rows[0].pk}/"
        etag = client.get(path)["ETag"]
        Permission.objects.filter(pk=rows[0].pk).update(codename="other")
        assert client.get(path, HTTP_IF_NONE_MATCH=etag).status_code == 200

    @pytest.mark.parametrize("header", ["x", '"', "*,", '"a", W/"b"', "W/", "é"])
    def test_it_survives_a_garbled_header(self, client: Any, rows: Any, header: str) -> None:
        assert client.get(f"{LIST}{rows[0].pk}/", HTTP_IF_NONE_MATCH=header).status_code == 200
