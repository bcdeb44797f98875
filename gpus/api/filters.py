from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from gaas.lib.rest.filters import IntegerFilter, ShareFilter, StrictBooleanFilter, StrictFilterSet, UsdFilter
from gpus.choices import Availability, GPUStatus, HostStatus, Visibility
from gpus.models import GPU, Host


class GPUFilterSet(StrictFilterSet):
    """Choose GPUs by what they are, cost and do."""

    model = django_filters.CharFilter(lookup_expr="icontains", help_text="A part of the model's name: h100.")
    min_vram_mib = IntegerFilter(field_name="vram_mib", lookup_expr="gte")
    max_price = UsdFilter(field_name="price_per_hour", lookup_expr="lte", help_text="Dollars an hour, at most.")
    status = django_filters.ChoiceFilter(choices=GPUStatus.choices)
    availability = django_filters.ChoiceFilter(choices=Availability.choices)
    visibility = django_filters.ChoiceFilter(choices=Visibility.choices)
    accepts_quota = StrictBooleanFilter()
    simulated = StrictBooleanFilter(field_name="is_simulated")
    region = django_filters.CharFilter(field_name="host__region")
    owner = django_filters.UUIDFilter(field_name="host__account", help_text="Id of the owner's account.")
    host = django_filters.UUIDFilter(field_name="host")
    min_reliability = ShareFilter(field_name="host__reliability", lookup_expr="gte")
    search = django_filters.CharFilter(
        method="by_words", help_text="A part of the model, or how the host's name begins."
    )

    class Meta:
        model = GPU
        fields: list[str] = []

    def by_words(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        return queryset.filter(Q(model__icontains=value) | Q(host__name__istartswith=value))


class HostFilterSet(StrictFilterSet):
    """Choose hosts by state, place and owner."""

    status = django_filters.ChoiceFilter(choices=HostStatus.choices)
    region = django_filters.CharFilter()
    account = django_filters.UUIDFilter(field_name="account")
    min_reliability = ShareFilter(field_name="reliability", lookup_expr="gte")
    search = django_filters.CharFilter(field_name="name", lookup_expr="istartswith", help_text="How the name begins.")

    class Meta:
        model = Host
        fields: list[str] = []
