"""Where the link of a letter leads that asks for a yes or no."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from django import forms
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from gaas.lib import clock
from gaas.lib.amounts import show_hours
from gaas.lib.errors import DomainError
from gaas.lib.rest.throttles import count_call
from tasks.choices import StepStatus, TaskStatus
from tasks.services import letters

LONGEST_SHOWN = 4000


class DecisionForm(forms.Form):
    token = forms.CharField(max_length=1000, widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=2000,
        required=False,
        label="Reason",
        help_text="Needed for a no; the submitter sees it.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


@method_decorator(never_cache, name="dispatch")
class Decide(View):
    """Show what waits for whom; only a POST decides, since mail scanners follow links too.

    The link is the proof of who answers. Staff of whom a second factor is asked have to be logged in as well.
    """

    http_method_names = ("get", "head", "post")

    def get(self, request: HttpRequest) -> HttpResponse:
        count_call("refresh", meta=request.META, name="approval")
        token = request.GET.get("token", "")
        asked = letters.read_letter(token=token)
        return self._log_in_first(asked, token) or self._show(asked, DecisionForm(initial={"token": token}))

    def post(self, request: HttpRequest) -> HttpResponse:
        count_call("refresh", meta=request.META, name="approval")
        form, verdict, token = DecisionForm(request.POST), request.POST.get("verdict"), request.POST.get("token", "")
        asked = letters.read_letter(token=token)
        if (elsewhere := self._log_in_first(asked, token)) is not None:
            return elsewhere
        if not form.is_valid() or verdict not in ("approve", "reject"):
            refusal = "" if form.errors else "Press one of the two buttons."
            return self._show(asked, form, refusal=refusal, status=400)
        try:
            task = letters.decide_by_letter(
                token=token, is_yes=verdict == "approve", reason=form.cleaned_data["reason"], now=clock.now()
            )
        except DomainError as refusal:
            # Read anew: somebody else may have decided meanwhile.
            return self._show(letters.read_letter(token=token), form, refusal=refusal.detail, status=refusal.status)
        title = "You said yes" if verdict == "approve" else "You said no"
        lead = f"“{task.title}” is now: {task.get_status_display().lower()}. The link has done its work."
        return render(request, "accounts/said.html", {"title": title, "lead": lead})

    def _log_in_first(self, asked: letters.Asked, token: str) -> HttpResponse | None:
        if settings.STAFF_MFA and asked.user.is_staff and self.request.user != asked.user:
            return redirect_to_login(f"{self.request.path}?token={quote(token)}")
        return None

    def _show(self, asked: letters.Asked, form: DecisionForm, *, refusal: str = "", status: int = 200) -> HttpResponse:
        task, asset = asked.step.task, asked.step.task.hold.balance.asset
        context: dict[str, Any] = {
            "title": "A task waits for you",
            "asked": asked,
            "task": task,
            "form": form,
            "refusal": refusal,
            "is_open": asked.step.status == StepStatus.PENDING and task.status == TaskStatus.PENDING,
            "held": asset.show(task.hold.amount),
            "hours": show_hours(task.limit_ms),
            "left": letters.what_is_left(task, now=clock.now()),
            "spec": _shown(task.spec),
        }
        return render(self.request, "tasks/decide.html", context, status=status)


def _shown(spec: dict[str, Any]) -> str:
    """Write what runs: the script as it is, else the whole specification."""
    script = spec.get("script")
    text = script if isinstance(script, str) else json.dumps(spec, indent=2, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}\n…"
