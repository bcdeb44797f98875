"""Pages that begin where the last one ended, however many rows came or went meanwhile."""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from django.core import signing
from django.core.exceptions import FieldDoesNotExist
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import F, Q, QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

_SIZE = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


class Term(NamedTuple):
    """One field of an order. `nulls` tells that it may be NULL; such rows come last either way."""

    name: str
    descends: bool
    nulls: bool
    field: Any

    def turned(self) -> Term:
        return self._replace(descends=not self.descends)


class KeysetPagination(CursorPagination):
    """Page by the values of the last row seen, with the primary key deciding among equals.

    DRF's own pages by the first field alone, skips rows by an offset among equal values, and shows page
    one for a cursor it cannot read. This cursor is signed: what is not ours is a 400 `invalid_cursor`.
    """

    ordering = "-id"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    page_size_query_description = "Results per page, 1 to 200."
    cursor_query_description = "Where the page begins, as `next` or `previous` of another page gives it."
    _signer = signing.Signer(salt="gaas.cursor")

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:
        self.base_url = request.build_absolute_uri()
        size = self.get_page_size(request)
        self.terms = _terms(queryset, self.get_ordering(request, queryset, view))
        position, backward = self._read_cursor(request)
        terms = [term.turned() for term in self.terms] if backward else self.terms
        if position is not None:
            queryset = queryset.filter(_beyond(terms, position, nulls_first=backward))
        rows = list(queryset.order_by(*[_order(term, nulls_first=backward) for term in terms])[: size + 1])
        more = len(rows) > size
        self.page = rows[:size]
        if backward:
            self.page.reverse()
        self.has_next = more if not backward else position is not None
        self.has_previous = more if backward else position is not None
        self.display_page_controls = self.has_next or self.has_previous
        return self.page

    def get_page_size(self, request: Request) -> int:
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        if not _SIZE.fullmatch(asked) or int(asked) > self.max_page_size:
            raise _refused(self.page_size_query_param, "invalid", f"Give a number from 1 to {self.max_page_size}.")
        return int(asked)

    def get_next_link(self) -> str | None:
        return self._link(self.page[-1:], backward=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(self.page[:1], backward=True) if self.has_previous else None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {**link, "description": "Address of the page after this one; null on the last."},
                "previous": {**link, "description": "Address of the page before this one; null on the first."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor, size = super().get_schema_operation_parameters(view)
        size["schema"] = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [cursor, size]

    def _link(self, edge: list[Any], *, backward: bool) -> str:
        if not edge:
            # An empty page beyond the end: the way back is the list's own beginning.
            return remove_query_param(self.base_url, self.cursor_query_param)
        values = [None if (v := _value(edge[0], t.name)) is None else _text(v) for t in self.terms]
        cursor = self._signer.sign_object([self._shape(), int(backward), values])
        return replace_query_param(self.base_url, self.cursor_query_param, cursor)

    def _shape(self) -> str:
        return ",".join(f"{'-' if term.descends else ''}{term.name}" for term in self.terms)

    def _read_cursor(self, request: Request) -> tuple[list[Any] | None, bool]:
        cursor = request.query_params.get(self.cursor_query_param)
        if cursor is None:
            return None, False
        try:
            shape, backward, texts = self._signer.unsign_object(cursor)
            if shape != self._shape():
                raise ValueError("another order")
            values = [
                None if text is None else term.field.to_python(text)
                for text, term in zip(texts, self.terms, strict=True)
            ]
        except (signing.BadSignature, DjangoValidationError, ValueError, TypeError) as error:
            detail = "This cursor is none of this list's. Begin without it, or follow `next` as it was given."
            raise _refused(self.cursor_query_param, "invalid_cursor", detail) from error
        return values, bool(backward)


def _terms(queryset: QuerySet[Any], ordering: tuple[str, ...]) -> list[Term]:
    terms = []
    pk = queryset.model._meta.pk.name
    for text in ordering:
        name = text.lstrip("-")
        name = pk if name == "pk" else name
        field, nulls = _field(queryset, name)
        terms.append(Term(name, text.startswith("-"), nulls, field))
        if name == pk:
            return terms
    return [*terms, Term(pk, terms[-1].descends if terms else True, False, queryset.model._meta.pk)]


def _field(queryset: QuerySet[Any], name: str) -> tuple[Any, bool]:
    """Find what a name is ordered by, through relations too, and whether it may be NULL."""
    if name in queryset.query.annotations:
        return queryset.query.annotations[name].output_field, True
    meta, nulls = queryset.model._meta, False
    *path, last = name.split("__")
    for step in path:
        relation = meta.get_field(step)
        nulls = nulls or relation.null
        meta = relation.related_model._meta
    field = meta.get_field(last)
    if not hasattr(field, "to_python"):
        raise FieldDoesNotExist(name)
    return getattr(field, "target_field", field), nulls or field.null


def _order(term: Term, *, nulls_first: bool) -> Any:
    if not term.nulls:
        # A plain order is what an index has; NULLS LAST would pass it by.
        return f"-{term.name}" if term.descends else term.name
    nulls = {"nulls_first": True} if nulls_first else {"nulls_last": True}
    return F(term.name).desc(**nulls) if term.descends else F(term.name).asc(**nulls)


def _beyond(terms: list[Term], position: list[Any], *, nulls_first: bool) -> Q:
    """State which rows come after a position in the order of the terms.

    (a, b) > (x, y) as `a > x OR (a = x AND b > y)`, and `a >= x` before it for the index on a.
    """
    ways: list[Q] = []
    same = Q()
    for term, value in zip(terms, position, strict=True):
        after = _after(term, value, nulls_first=nulls_first)
        if after is not None:
            ways.append(same & after)
        same &= Q(**{f"{term.name}__isnull": True}) if value is None else Q(**{term.name: value})
    condition = reduce(or_, ways)
    first = terms[0]
    if len(terms) > 1 and not first.nulls:
        condition = Q(**{f"{first.name}__{'lte' if first.descends else 'gte'}": position[0]}) & condition
    return condition


def _after(term: Term, value: Any, *, nulls_first: bool) -> Q | None:
    if value is None:
        return Q(**{f"{term.name}__isnull": False}) if nulls_first else None
    after = Q(**{f"{term.name}__{'lt' if term.descends else 'gt'}": value})
    if term.nulls and not nulls_first:
        after |= Q(**{f"{term.name}__isnull": True})
    return after


def _value(row: Any, name: str) -> Any:
    if isinstance(row, dict):
        return row[name]
    for step in name.split("__"):
        row = getattr(row, step, None)
    return getattr(row, "pk", row)


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _refused(param: str, code: str, detail: str) -> ValidationError:
    return ValidationError({param: [ErrorDetail(detail, code=code)]})
