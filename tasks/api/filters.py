from __future__ import annotations

import django_filters

from gaas.lib.rest.filters import MomentFilter, StrictBooleanFilter, StrictFilterSet
from tasks.choices import FileStatus, Funding, TaskStatus
from tasks.models import Artifact, Task, Upload


class TaskFilter(StrictFilterSet):
    status = django_filters.MultipleChoiceFilter(choices=TaskStatus.choices)
    account = django_filters.UUIDFilter(field_name="account_id")
    funding = django_filters.ChoiceFilter(choices=Funding.choices)
    kind = django_filters.CharFilter()
    cost_code = django_filters.CharFilter()
    mine = StrictBooleanFilter(method="only_mine", label="Submitted by the caller.")
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Task
        fields: list[str] = []

    def only_mine(self, queryset, name: str, value: bool):
        own = queryset.filter(submitted_by=self.request.user.pk)
        return own if value else queryset.exclude(submitted_by=self.request.user.pk)


class UploadFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=FileStatus.choices, field_name="file__status")
    account = django_filters.UUIDFilter(field_name="account_id")
    name = django_filters.CharFilter()

    class Meta:
        model = Upload
        fields: list[str] = []


class ArtifactFilter(StrictFilterSet):
    attempt = django_filters.UUIDFilter(field_name="attempt_id")
    name = django_filters.CharFilter()

    class Meta:
        model = Artifact
        fields: list[str] = []
