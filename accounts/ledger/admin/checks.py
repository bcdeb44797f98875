from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import path
from unfold.decorators import display

from accounts.ledger import causes
from accounts.ledger.actors import check_books
from accounts.ledger.choices import CheckSource, CheckStatus
from accounts.ledger.models import CheckRun
from accounts.ledger.services.check_runs import CheckUnderWay, begin_check
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin

LOOKS = {
    CheckStatus.RUNNING: "info",
    CheckStatus.CLEAN: "success",
    CheckStatus.BROKEN: "danger",
    CheckStatus.FAILED: "warning",
}
# How often the page of a running check is read again, in seconds.
AGAIN = 2


@admin.register(CheckRun)
class CheckRunAdmin(ViewOnlyAdmin):
    """Show what each check of the books found, and have them checked now."""

    when_empty = "The books are checked each night, by `manage.py ledger_check`, and by the button on the first page."
    list_display = ("created_at", "state", "found", "took", "source", "asked_by")
    list_filter = ("status", "source")
    fields = (("status", "found"), ("created_at", "took"), ("source", "asked_by"), "failure")
    readonly_fields = ("status", "found", "took")
    change_form_outer_after_template = "admin/ledger/of_check.html"

    def get_urls(self) -> list[Any]:
        now = path("now/", self.admin_site.admin_view(self.check_now), name="ledger_checkrun_now")
        return [now, *super().get_urls()]

    def check_now(self, request: HttpRequest) -> HttpResponse:
        """Have the books checked by a worker, and lead to where its progress is shown."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("ledger.add_checkrun"):
            raise PermissionDenied
        try:
            run = begin_check(source=CheckSource.PERSON, now=clock.now(), asked_by=request.user.get_username())
        except CheckUnderWay as refusal:
            self.message_user(request, refusal.detail, messages.WARNING)
            running = CheckRun.objects.filter(status=CheckStatus.RUNNING).first()
            return redirect("admin:ledger_checkrun_change", running.pk) if running else redirect("admin:index")
        check_books.send(run_id=str(run.pk))
        return redirect("admin:ledger_checkrun_change", run.pk)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        seen = {} if run is None else {"check": shown(run, request)}
        answer = super().change_view(request, object_id, form_url, {**(extra_context or {}), **seen})
        if run is not None and run.status == CheckStatus.RUNNING and not run.is_silent(now=clock.now()):
            answer["Refresh"] = str(AGAIN)
        return answer

    @display(description="Status", label=LOOKS)
    def state(self, run: CheckRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description="Found")
    def found(self, run: CheckRun) -> str:
        if run.status == CheckStatus.RUNNING:
            return f"{run.done} of {run.of} done"
        if run.broken:
            return "broken: " + ", ".join(str(result["number"]) for result in run.broken)
        return f"all {len(run.results)} hold" if run.status == CheckStatus.CLEAN else "nothing"

    @display(description="Took")
    def took(self, run: CheckRun) -> str:
        return "—" if run.seconds is None else f"{run.seconds:.1f} s"


def shown(run: CheckRun, request: HttpRequest) -> dict[str, Any]:
    """Give what a page tells of a check: its results with links where a sentence names something."""
    return {
        "run": run,
        "is_running": run.status == CheckStatus.RUNNING,
        "is_silent": run.is_silent(now=clock.now()),
        "results": [
            {**result, "problems": [causes.linked(problem, request) for problem in result["problems"]]}
            for result in run.results
        ],
    }
