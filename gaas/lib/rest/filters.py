"""Query parameters that are checked by name and by value, so that a slip never reads as "no filter"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db import models
from django.db.models import QuerySet
from django_filters import rest_framework as rest_filters
from django_filters.fields import IsoDateTimeField
from django_filters.utils import translate_validation
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.filters import OrderingFilter
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from gaas.lib.amounts import MAX_INTEGER, NotExact, hours_to_ms, parse_micro

FRAMEWORK = frozenset({"format"})
MOST_ORDERINGS = 5


def refuse_unknown(
    params: Iterable[str], known: Iterable[str], *, code: str = "unknown_filter", what: str = "query parameter"
) -> None:
    """Raise 400 naming each parameter that is not known, and those that are."""
    known = set(known)
    unknown = [name for name in params if name not in known | FRAMEWORK]
    if unknown:
        may = f"Known here: {', '.join(sorted(known))}." if known else "None is taken here."
        detail = f"No such {what}. {may}"
        raise ValidationError({name[:100] or "?": [ErrorDetail(detail, code=code)] for name in unknown[:20]})


def whole_number(params: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    """Read one query parameter as a whole number within bounds; raise 400 naming it and them."""
    text = params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise ValidationError({name: [ErrorDetail(f"Give a whole number from {least} to {most}.", code="invalid")]})
    return int(text)


class _BooleanField(forms.Field):
    default_error_messages = {"invalid": "Give true or false."}

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        known = {"true": True, "false": False}.get(str(value).lower())
        if known is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return known


class _MomentField(IsoDateTimeField):
    """Refuse moments that no time zone arithmetic can hold (0001-01-01T00:00+14:00)."""

    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except (OverflowError, ValueError) as error:
            raise forms.ValidationError("Give a moment between the years 1 and 9999.", code="invalid") from error


class _IntegerField(forms.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("error_messages", {"invalid": "Give a whole number."})
        super().__init__(r"\A-?(0|[1-9][0-9]{0,17})\Z", **kwargs)

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        return int(text) if text not in self.empty_values else None


class _AmountField(forms.Field):
    def __init__(self, *, in_ms: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_ms = in_ms

    def to_python(self, value: Any) -> int | None:
        if value in self.empty_values:
            return None
        try:
            micro = parse_micro(value)
        except NotExact as error:
            raise forms.ValidationError(str(error), code="not_exact") from error
        return min(hours_to_ms(micro) if self.in_ms else micro, MAX_INTEGER)


class _ShareField(forms.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("error_messages", {"invalid": "Give a decimal from 0 to 1, such as 0.99."})
        super().__init__(r"\A(0(\.[0-9]{1,6})?|1(\.0{1,6})?)\Z", **kwargs)

    def clean(self, value: Any) -> float | None:
        text = super().clean(value)
        return float(text) if text not in self.empty_values else None


class ShareFilter(django_filters.Filter):
    """Take a share of one."""

    field_class = _ShareField


class StrictBooleanFilter(django_filters.BooleanFilter):
    """Take true or false; django-filter reads anything else as "no filter"."""

    field_class = _BooleanField


class MomentFilter(django_filters.IsoDateTimeFilter):
    """Take an ISO 8601 moment."""

    field_class = _MomentField


class IntegerFilter(django_filters.NumberFilter):
    """Take a whole number."""

    field_class = _IntegerField

    def get_max_validator(self) -> None:
        return None


class UsdFilter(django_filters.Filter):
    """Take dollars, compare micro-dollars."""

    field_class = _AmountField


class HoursFilter(django_filters.Filter):
    """Take hours, compare milliseconds."""

    field_class = _AmountField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, in_ms=True, **kwargs)


class StrictFilterSet(rest_filters.FilterSet):
    """Choose strict filters for a model's fields. All apps' filter sets build on it."""

    FILTER_DEFAULTS = deepcopy(rest_filters.FilterSet.FILTER_DEFAULTS)
    FILTER_DEFAULTS.update(
        {
            models.BooleanField: {"filter_class": StrictBooleanFilter},
            models.DateTimeField: {"filter_class": MomentFilter},
            models.IntegerField: {"filter_class": IntegerFilter},
            models.BigIntegerField: {"filter_class": IntegerFilter},
            models.PositiveIntegerField: {"filter_class": IntegerFilter},
            models.PositiveBigIntegerField: {"filter_class": IntegerFilter},
            models.PositiveSmallIntegerField: {"filter_class": IntegerFilter},
            models.SmallIntegerField: {"filter_class": IntegerFilter},
        }
    )


def _refuse_blank_ids(request: Request, filterset: Any) -> None:
    """Raise 400 for an id of blanks, which the form would strip to "no filter"."""
    blank = [
        name
        for name, found in filterset.filters.items()
        if isinstance(found, django_filters.UUIDFilter)
        and (value := request.query_params.get(name, ""))
        and not value.strip()
    ]
    if blank:
        raise ValidationError({name: [ErrorDetail("Give an id.", code="invalid")] for name in blank})


class StrictFilterBackend(rest_filters.DjangoFilterBackend):
    """Filter by the view's `filterset_class` or `filterset_fields`; name what it does not know.

    A view that reads more parameters of its own lists them in `query_params`.
    """

    filterset_base = StrictFilterSet

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset = self.get_filterset(request, queryset, view)
        refuse_unknown(request.query_params, known_params(view, filterset))
        if filterset is None:
            return queryset
        _refuse_blank_ids(request, filterset)
        if not filterset.is_valid():
            raise translate_validation(filterset.errors)
        return filterset.qs


def known_params(view: Any, filterset: django_filters.FilterSet | None) -> set[str]:
    """Give every query parameter that means something to a view."""
    known: set[str] = set(getattr(view, "query_params", ()))
    if filterset is not None:
        for name, field in filterset.form.fields.items():
            suffixes = getattr(field.widget, "suffixes", None)
            known.update([field.widget.suffixed(name, s) for s in suffixes] if suffixes else [name])
    if isinstance(view, SparseFields):
        known.add(SparseFields.param)
    for backend in getattr(view, "filter_backends", ()):
        if issubclass(backend, OrderingFilter) and backend.ordering_param:
            known.add(backend.ordering_param)
        elif param := getattr(backend, "search_param", None):
            known.add(param)
    pagination = getattr(view, "pagination_class", None)
    if pagination is not None:
        known.update({pagination.cursor_query_param, pagination.page_size_query_param})
    return known


class StrictQuery:
    """Refuse query parameters that mean nothing to a view where no filter backend sees them: plain views, and POSTs.

    A browser's form on a filtered list posts to the list's address, so the list's own parameters pass.
    """

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        is_left_to_backend = request.method in SAFE_METHODS and getattr(self, "filter_backends", ())
        is_answered = hasattr(self, (request.method or "").lower())
        if request.query_params and is_answered and not is_left_to_backend:
            filters = getattr(getattr(self, "filterset_class", None), "base_filters", ())
            refuse_unknown(request.query_params, known_params(self, None) | set(filters))


class StrictOrderingFilter(OrderingFilter):
    """Order by the fields that a view lists in `ordering_fields`; others are a 400 `unknown_ordering`.

    Without a list only `id` is taken, which is the order of creation and costs nothing.
    """

    ordering_fields = ("id",)
    ordering_description = "Fields to order by, comma-separated, with - before those that descend."

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> Iterable[str] | None:
        asked = request.query_params.get(self.ordering_param)
        if asked is None:
            return self.get_default_ordering(view)
        known = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        terms = [term.strip() for term in asked.split(",")]
        names = [term.removeprefix("-") for term in terms]
        refuse = None
        if unknown := next((name for name in names if name not in known), None):
            refuse = f"Nothing is ordered by {unknown[:60]!r} here. Known: {', '.join(known)}."
        elif "" in names:
            refuse = f"Name a field to order by. Known: {', '.join(known)}."
        elif len(set(names)) != len(names) or len(names) > MOST_ORDERINGS:
            refuse = f"Name each field once, and at most {MOST_ORDERINGS}."
        if refuse:
            raise ValidationError({self.ordering_param: [ErrorDetail(refuse, code="unknown_ordering")]})
        return terms


class SparseFields:
    """Let a view's readers ask for some of the fields: `?fields=id,status`."""

    param = "fields"

    def get_serializer(self, *args: Any, **kwargs: Any) -> BaseSerializer[Any]:
        return self.sparse(super().get_serializer(*args, **kwargs))  # type: ignore[misc]

    def sparse(self, serializer: BaseSerializer[Any]) -> BaseSerializer[Any]:
        """Leave a serializer, perhaps one that the view made itself, the fields that are asked for."""
        request: Request = self.request  # type: ignore[attr-defined]
        if request.method not in ("GET", "HEAD") or self.param not in request.query_params:
            return serializer
        fields: Mapping[str, Any] = getattr(serializer, "child", serializer).fields  # type: ignore[attr-defined]
        wanted = {name.strip() for name in request.query_params[self.param].split(",")}
        if unknown := sorted(wanted - set(fields)):
            detail = f"No such field: {', '.join(unknown)[:100]!r}. Known: {', '.join(fields)}."
            raise ValidationError({self.param: [ErrorDetail(detail, code="unknown_field")]})
        for name in set(fields) - wanted:
            del fields[name]  # type: ignore[attr-defined]
        return serializer
