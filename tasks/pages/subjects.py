"""What holds and transfers for tasks are called on the pages of money."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.urls import reverse

from payments.subjects import Subject, ids
from tasks.models import Task


def named(refs: Collection[str], user: Any) -> dict[str, Subject]:
    """Name those of these tasks that the user sees."""
    seen = Task.objects.visible_to(user).filter(pk__in=ids(refs)).values_list("pk", "title")
    return {str(pk): Subject(title, reverse("task", args=[pk])) for pk, title in seen}
