"""What every list page of the admin shares: no count(*) over a big table, the primary key as the order."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connections, models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin, TabularInline

# No row says more; and SQLite breaks off at a pattern of 50 kB.
MAX_SEARCH = 500


class EstimatePaginator(Paginator):
    """Count exactly up to `exact_up_to` rows; beyond it trust the planner's estimate or stop there.

    An exact count of ten million rows takes seconds, the bounded one a few milliseconds at any size.
    A whole table on PostgreSQL shows `pg_class.reltuples`, as fresh as the last (auto)vacuum or
    analyze; a filtered list, and SQLite, end at the bound: filter or search to get further.
    """

    exact_up_to = 10_000

    @cached_property
    def count(self) -> int:
        rows: QuerySet = self.object_list
        counted = rows.order_by().values("pk")[: self.exact_up_to].count()
        if counted < self.exact_up_to or rows.query.where:
            return counted
        return max(counted, self._estimate(rows))

    @staticmethod
    def _estimate(rows: QuerySet) -> int:
        connection = connections[rows.db]
        if connection.vendor != "postgresql":
            return 0
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(rows.model._meta.db_table)
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)", [table])
            found = cursor.fetchone()
        return found[0] if found else 0


class LeanChangeList(ChangeList):
    """Offer to show all only where a search or a filter hides something."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count


class LeanAdmin(ModelAdmin):
    """Page through a table of any size: estimated count, primary key order, no facets, no sorting by click.

    An id pasted into the search box finds its row by the primary key, and the rows whose search fields such as
    `account__id__exact` it is. Name search fields with a lookup
    that an index can answer, such as `key__startswith` or `ref__exact`: the admin's own `=` and `^`
    ignore case and so read the whole table.
    """

    paginator = EstimatePaginator
    ordering = ("-pk",)
    sortable_by = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LeanChangeList

    def get_actions_detail(self, request: HttpRequest, object_id: str | None = None) -> list[Any]:
        """Show the buttons of verbs that mean something for this object as it is."""
        actions = super().get_actions_detail(request, object_id)
        if not any(getattr(action.method, "applies", None) for action in actions):
            return actions
        found = self.model._default_manager.filter(pk=object_id).first()
        if found is None:
            return []
        return [action for action in actions if (getattr(action.method, "applies", None) or _always)(found)]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        if len(search_term) > MAX_SEARCH:
            return queryset.none(), False
        if isinstance(self.model._meta.pk, models.UUIDField):
            try:
                return queryset.filter(self._named_by(UUID(search_term.strip()), request)), False
            except ValueError:
                pass
        return super().get_search_results(request, queryset, search_term)

    def _named_by(self, id_: UUID, request: HttpRequest) -> models.Q:
        """Ask for the row of an id, or for those that name it where a search field says so."""
        asked = models.Q(pk=id_)
        for lookup in self.get_search_fields(request):
            path, _, kind = str(lookup).rpartition("__")
            if kind == "exact" and _holds_uuids(self.model, path):
                asked |= models.Q(**{path: id_})
        return asked


def _always(_: models.Model) -> bool:
    return True


def _holds_uuids(model: Any, path: str) -> bool:
    field: Any = None
    for name in path.split("__"):
        field = model._meta.get_field(name)
        model = field.related_model
    return isinstance(field.target_field if field.is_relation else field, models.UUIDField)


class ViewOnlyAdmin(LeanAdmin):
    """Show rows that only the application writes; nobody adds, changes or deletes them here."""

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class KeysetPaginator(Paginator):
    """Count nothing: the page is what KeysetChangeList read."""

    template_name = "admin/keyset.html"

    @cached_property
    def count(self) -> int:
        return 0


class KeysetChangeList(ChangeList):
    """Page by the primary key, newest first: `?before=<id>` goes on below a row, `?after=<id>` above one."""

    older: str | None = None
    newer: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("before", "after"):
            # A new search begins at its own first page.
            self.filter_params.pop(name, None)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in ("before", "after")}

    def get_results(self, request: HttpRequest) -> None:
        before, after = self._cursor(request, "before"), self._cursor(request, "after")
        rows = self.queryset.order_by("pk" if after else "-pk")
        if before:
            rows = rows.filter(pk__lt=before)
        elif after:
            rows = rows.filter(pk__gt=after)
        read = list(rows[: self.list_per_page + 1])
        has_more = len(read) > self.list_per_page
        page = read[: self.list_per_page]
        if after:
            page.reverse()
        if page and (has_more or after):
            self.older = self.get_query_string({"before": page[-1].pk}, ["after"])
        if page and (before or (after and has_more)):
            self.newer = self.get_query_string({"after": page[0].pk}, ["before"])
        self.newest = self.get_query_string({}, ["before", "after"])
        self.is_newest = not (before or after)
        self.result_list = page
        self.result_count = self.full_result_count = len(page)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = KeysetPaginator([], self.list_per_page)

    @staticmethod
    def _cursor(request: HttpRequest, name: str) -> UUID | None:
        text = request.GET.get(name)
        try:
            return UUID(text) if text else None
        except ValueError as fault:
            raise IncorrectLookupParameters(fault) from fault


class KeysetAdmin(ViewOnlyAdmin):
    """Show a table that grows for ever: neither counted nor skipped through, so a page costs the same at any depth."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList


class HistoryAdmin(SimpleHistoryAdmin):
    """Show how a policy stood at each moment, by whom; stand before LeanAdmin. An old version is there to be read."""

    history_list_per_page = 50
    object_history_form_template = "admin/version.html"

    def render_history_view(self, request: HttpRequest, template: str, context: dict[str, Any], **kwargs: Any) -> Any:
        if shown := context.get("adminform"):
            names = flatten_fieldsets(shown.fieldsets)
            context["adminform"] = AdminForm(shown.form, shown.fieldsets, {}, names, model_admin=self)
        return super().render_history_view(request, template, context, **kwargs)

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: Any = None
    ) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied("A policy is changed by its verbs, not by going back to an old version.")
        return super().history_form_view(request, object_id, version_id, extra_context)


class ReadOnlyInline(TabularInline):
    """Show what belongs to a row on its page, newest first; whoever sees the row sees it."""

    extra = 0
    can_delete = False
    show_change_link = False
    hide_title = True
    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True
