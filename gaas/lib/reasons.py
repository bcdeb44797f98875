"""Admin verbs with a form: one method that is a list action and a page button at once.

In a ModelAdmin (unfold's), name the same method in `actions` and in `actions_detail`:

    class TaskAdmin(LeanAdmin):
        actions = ["approve", "reject"]
        actions_detail = ["approve", "reject"]

        @verb_action(description="Reject", done="rejected", form=ReasonForm, permissions=["decide"], icon="close")
        def reject(self, request, task, data):
            task.reject(by=request.user, reason=data["reason"], now=clock.now())

        def has_decide_permission(self, request, obj=None):
            return request.user.has_perm("tasks.change_task")

The method is called once for each selected object with the form's `cleaned_data` and makes one call to the
verb. A DomainError becomes a skip, told with its own sentence: "3 approved, 1 skipped: …". A list action
without a form runs at once; with a form, a page asks first (templates/admin/reason.html). A page button
always asks first, since unfold follows it by GET, which must change nothing. Forms use unfold's widgets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from gaas.lib.errors import DomainError

# Each object is one transaction; beyond this a web request would take too long.
MAX_SELECTED = 500

Verb = Callable[[Any, HttpRequest, Any, dict[str, Any]], object]


class ReasonForm(forms.Form):
    """Ask why; the answer is stored with the deed and shown to whom it concerns."""

    reason = forms.CharField(max_length=2000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


class OptionalReasonForm(forms.Form):
    """Ask why, and take no answer too."""

    reason = forms.CharField(max_length=2000, required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


def verb_action(
    *,
    description: str,
    done: str,
    permissions: Sequence[str],
    form: type[forms.Form] | None = None,
    icon: str | None = None,
    variant: ActionVariant = ActionVariant.DEFAULT,
) -> Callable[[Verb], Any]:
    """Make an admin method (admin, request, obj, data) a list action and a page button.

    `done` is the past participle of the report ("approved"). `permissions` are names for which the admin
    has `has_<name>_permission(request, obj=None)`; all must hold, else the action is not shown and a call is 403.
    """

    def decorate(verb: Verb) -> Any:
        @wraps(verb)
        def action(
            admin: ModelAdmin, request: HttpRequest, queryset: QuerySet | None = None, object_id: str | None = None
        ) -> HttpResponse | None:
            if not all(getattr(admin, f"has_{name}_permission")(request) for name in permissions):
                raise PermissionDenied
            if object_id is not None:
                return _from_page(admin, request, object_id)
            return _from_list(admin, request, queryset)

        def _from_list(admin: ModelAdmin, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
            objects = list(queryset[: MAX_SELECTED + 1])
            if len(objects) > MAX_SELECTED:
                admin.message_user(request, f"Select at most {MAX_SELECTED} at once.", messages.ERROR)
                return None
            if form is None:
                _run(admin, request, objects, {})
                return None
            bound = form(request.POST if "post" in request.POST else None)
            if bound.is_valid():
                _run(admin, request, objects, bound.cleaned_data)
                return None
            return _ask(admin, request, objects, bound)

        def _from_page(admin: ModelAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
            found = admin.get_object(request, object_id)
            if found is None:
                return admin._get_obj_does_not_exist_redirect(request, admin.opts, object_id)
            bound = (form or forms.Form)(request.POST if request.method == "POST" else None)
            if bound.is_valid():
                _run(admin, request, [found], bound.cleaned_data)
                return redirect(
                    f"{admin.admin_site.name}:{admin.opts.app_label}_{admin.opts.model_name}_change", found.pk
                )
            return _ask(admin, request, [found], bound, is_page=True)

        def _run(admin: ModelAdmin, request: HttpRequest, objects: Iterable[Model], data: dict[str, Any]) -> None:
            did, skips = 0, Counter()
            for obj in objects:
                try:
                    verb(admin, request, obj, data)
                except DomainError as refusal:
                    skips[refusal.detail] += 1
                else:
                    did += 1
            told = report(did, done, skips)
            admin.message_user(request, told, messages.WARNING if skips else messages.SUCCESS)

        def _ask(
            admin: ModelAdmin,
            request: HttpRequest,
            objects: Sequence[Model],
            bound: forms.Form,
            *,
            is_page: bool = False,
        ) -> TemplateResponse:
            opts = admin.opts
            context = {
                **admin.admin_site.each_context(request),
                "title": description,
                "opts": opts,
                "objects": objects,
                "form": bound,
                "is_page": is_page,
                "action": action.__name__,
                "checkbox": ACTION_CHECKBOX_NAME,
                "media": admin.media + bound.media,
                "is_danger": variant is ActionVariant.DANGER,
            }
            return TemplateResponse(request, "admin/reason.html", context)

        action.short_description = description
        action.allowed_permissions = tuple(permissions)
        action.icon, action.variant, action.attrs = icon, variant, {}
        return action

    return decorate


def report(did: int, done: str, skips: Counter[str]) -> str:
    """Write "3 approved, 1 skipped: not pending", each reason once."""
    parts = [f"{did} {done}"] if did or not skips else []
    if skips:
        parts.append(f"{skips.total()} skipped: {' '.join(skips)}")
    return ", ".join(parts)
