"""The trail as CSV, for whoever may see it."""

from __future__ import annotations

import csv
import io

import pytest
from django.urls import reverse

from gaas.audit.models import AuditEvent
from gaas.audit.services import chain_events, record

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_auditevent_changelist")


def exported(client, query="", **more):
    chosen = [str(pk) for pk in AuditEvent.objects.values_list("pk", flat=True)]
    answer = client.post(LIST + query, {"action": "export", "_selected_action": chosen, **more})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode())))


class TestExport:
    def test_it_gives_every_column_the_oldest_first(self, client, dana, lab):
        record(action="lab.one", obj=lab, by=dana, before={"a": 1}, after={"a": 2}, reason="Because, so")
        record(action="lab.two", obj=lab, by=None)
        chain_events()
        client.force_login(dana)
        one, two = exported(client)
        assert (one["seq"], one["action"], one["actor_label"]) == ("1", "lab.one", "dana@example.test")
        assert (one["before"], one["after"], one["reason"]) == ('{"a": 1}', '{"a": 2}', "Because, so")
        assert (two["action"], len(two["digest"])) == ("lab.two", 64)

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", '=HYPERLINK("x")'])
    def test_no_cell_is_a_formula(self, client, dana, lab, text):
        record(action="lab.one", obj=lab, by=text, reason=text)
        client.force_login(dana)
        (row,) = exported(client)
        assert row["reason"] == row["actor_label"] == f"'{text}"

    def test_it_gives_what_the_filters_leave(self, client, dana, lab):
        for name in ("one", "two", "two"):
            record(action=f"lab.{name}", obj=lab, by=None)
        client.force_login(dana)
        assert {row["action"] for row in exported(client, "?action=lab.two", select_across="1")} == {"lab.two"}

    def test_it_is_for_those_who_may_see_the_trail(self, client, dana, lab):
        record(action="lab.one", obj=lab, by=None)
        client.force_login(dana)
        assert len(exported(client)) == 1
        dana.user_permissions.clear()
        assert client.post(LIST, {"action": "export"}).status_code == 403
