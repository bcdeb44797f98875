from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from unfold.contrib.filters.admin import RangeDateTimeFilter, TextFilter
from unfold.decorators import action, display

from gaas.audit.models import AuditEvent
from gaas.lib import csv_cells
from gaas.lib.admin import ViewOnlyAdmin

EXPORTED = (
    *("seq", "at", "action", "actor_label", "object_type", "object_id", "object_label", "account_id"),
    *("reason", "before", "after", "address", "request_id", "id", "digest"),
)


class _ExactFilter(TextFilter):
    """Narrow by a text that an index finds; a list of all values would read the whole table."""

    lookup = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(**{self.lookup: self.value().strip()}) if self.value() else queryset


class ActionFilter(_ExactFilter):
    title = "action, such as account.grant_hours"
    parameter_name = lookup = "action"


class ActorFilter(_ExactFilter):
    title = "e-mail address of who did it"
    parameter_name = "by"
    lookup = "actor__email"


class AccountFilter(_ExactFilter):
    title = "account id"
    parameter_name = lookup = "account_id"


@admin.register(AuditEvent)
class AuditEventAdmin(ViewOnlyAdmin):
    """Show who did what, to what, and why."""

    list_display = ("at", "action", "by_whom", "what", "reason", "address")
    when_empty = "Events appear when somebody approves, rejects, grants, lists, revokes and the like."
    list_filter = (ActionFilter, ActorFilter, AccountFilter, ("at", RangeDateTimeFilter))
    list_filter_submit = True
    search_fields = ("object_id__exact",)
    search_help_text = "The id of what was acted upon."
    actions = ("export",)

    @display(description="By")
    def by_whom(self, event: AuditEvent) -> str:
        return event.actor_label or "platform"

    @display(description="What", header=True)
    def what(self, event: AuditEvent) -> list[str]:
        return [event.object_label, event.object_type.rpartition(".")[2]]

    @action(description="Export as CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet) -> StreamingHttpResponse:
        """Send the chosen events, the oldest first, without ever having all in memory."""
        answer = StreamingHttpResponse(csv_cells.lines(_rows(queryset)), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="audit-events.csv"'
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[Any, bool]:
        """Find events by the id of their object; it is what people have at hand, not the event's own."""
        term = search_term.strip().lower()
        return (queryset.filter(object_id=term) if term else queryset), False


def _rows(events: QuerySet) -> Iterator[list[Any]]:
    yield list(EXPORTED)
    for row in events.order_by("pk").values_list(*EXPORTED).iterator():
        yield [json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for value in row]
