"""How the list of accounts is paged."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request

from gaas.lib.rest.pagination import KeysetPagination


class OwnFirst(KeysetPagination):
    """Begin the first page with the caller's personal account, beside the page's own number of rows.

    A cursor follows the primary key, which knows nothing of whose an account is; so that one is taken out
    of the order and put in front.
    """

    def paginate_queryset(self, queryset: QuerySet, request: Request, view: Any = None) -> list[Any]:
        page = super().paginate_queryset(queryset.exclude(person=request.user.pk), request, view) or []
        own = [] if self.has_previous else list(queryset.filter(person=request.user.pk))
        return [*own, *page]
