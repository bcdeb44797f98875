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
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
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

    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Required: kept in the record and shown to whom it concerns.",
    )


class OptionalReasonForm(forms.Form):
    """Ask why, and take no answer too."""

    reason = forms.CharField(
        max_length=2000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="May stay empty; kept in the record.",
    )


def verb_action(
    *,
    description: str,
    done: str,
    permissions: Sequence[str],
    form: type[forms.Form] | None = None,
    icon: str | None = None,
    variant: ActionVariant = ActionVariant.DEFAULT,
    applies: Callable[[Any], bool] | None = None,
) -> Callable[[Verb], Any]:
    """Make an admin method (admin, request, obj, data) a list action and a page button.

    `done` is the past participle of the report ("approved"). `permissions` are names for which the admin
    has `has_<name>_permission(request, obj=None)`; all must hold, else the action is not shown and a call is 403.
    `applies` says of an object whether its page shows the button; a stale page still gets the verb's own refusal.
    """

    def decorate(verb: Verb) -> Any:
        act = _Action(verb, description, done, form, is_danger=variant is ActionVariant.DANGER)

        @wraps(verb)
        def action(
            admin: Any, request: HttpRequest, queryset: QuerySet | None = None, object_id: str | None = None
        ) -> HttpResponse | None:
            if not all(getattr(admin, f"has_{name}_permission")(request) for name in permissions):
                raise PermissionDenied
            if queryset is not None:
                return act.from_list(admin, request, queryset)
            return act.from_page(admin, request, object_id)

        # What Django's and unfold's admin look for.
        action.__dict__.update(
            short_description=description,
            allowed_permissions=tuple(permissions),
            icon=icon,
            variant=variant,
            applies=applies,
            attrs={},
        )
        return action

    return decorate


@dataclass(frozen=True)
class _Action:
    """Ask, run and report for one verb; `admin` is the ModelAdmin that holds it."""

    verb: Verb
    description: str
    done: str
    form: type[forms.Form] | None
    is_danger: bool

    def from_list(self, admin: Any, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        objects = list(queryset[: MAX_SELECTED + 1])
        if len(objects) > MAX_SELECTED:
            admin.message_user(request, f"Select at most {MAX_SELECTED} at once.", messages.ERROR)
            return None
        if self.form is None:
            self.run(admin, request, objects, {})
            return None
        bound = self.form(request.POST if "post" in request.POST else None)
        if not bound.is_valid():
            return self.ask(admin, request, objects, bound)
        self.run(admin, request, objects, bound.cleaned_data)
        return None

    def from_page(self, admin: Any, request: HttpRequest, object_id: str | None) -> HttpResponse:
        found = admin.get_object(request, object_id)
        if found is None:
            return admin._get_obj_does_not_exist_redirect(request, admin.opts, object_id)
        bound = (self.form or forms.Form)(request.POST if request.method == "POST" else None)
        if not bound.is_valid():
            return self.ask(admin, request, [found], bound, is_page=True)
        self.run(admin, request, [found], bound.cleaned_data)
        opts = admin.opts
        return redirect(f"{admin.admin_site.name}:{opts.app_label}_{opts.model_name}_change", found.pk)

    def run(self, admin: Any, request: HttpRequest, objects: Iterable[Model], data: dict[str, Any]) -> None:
        did = 0
        skips: Counter[str] = Counter()
        for obj in objects:
            try:
                self.verb(admin, request, obj, data)
            except DomainError as refusal:
                skips[refusal.detail] += 1
            else:
                did += 1
        admin.message_user(request, report(did, self.done, skips), messages.WARNING if skips else messages.SUCCESS)

    def ask(
        self, admin: Any, request: HttpRequest, objects: Sequence[Model], bound: forms.Form, *, is_page: bool = False
    ) -> HttpResponse:
        context = {
            **admin.admin_site.each_context(request),
            "title": self.description,
            "opts": admin.opts,
            "objects": objects,
            "form": bound,
            "is_page": is_page,
            # The heading leads to the object, as on its own page.
            "original": objects[0] if is_page else None,
            "is_danger": self.is_danger,
            "action": self.verb.__name__,
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": admin.media + bound.media,
        }
        return TemplateResponse(request, "admin/reason.html", context)


def report(did: int, done: str, skips: Counter[str]) -> str:
    """Write "3 approved, 1 skipped: not pending", each reason once."""
    parts = [f"{did} {done}"] if did or not skips else []
    if skips:
        parts.append(f"{skips.total()} skipped: {' '.join(skips)}")
    return ", ".join(parts)
