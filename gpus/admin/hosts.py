"""Hosts: who they are, when they were heard, and what to do with them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Count, DateTimeField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import LeanAdmin
from gaas.lib.reasons import OptionalReasonForm, ReasonForm, verb_action
from gpus import services
from gpus.admin.forms import HostForm, MaintenanceForm, NewHostForm
from gpus.choices import HostStatus, Sandbox
from gpus.looks import charts_of
from gpus.models import GPU, Host
from gpus.troubles import troubles

STATUS_LABELS = {
    HostStatus.JOINING.label: "info",
    HostStatus.ACTIVE.label: "success",
    HostStatus.DRAINING.label: "warning",
    HostStatus.MAINTENANCE.label: "warning",
    HostStatus.REVOKED.label: "danger",
}
MOST_CURVES = 16
NO_SANDBOX = "none: tasks see the machine"


@admin.register(Host)
class HostAdmin(LeanAdmin):
    """Show which machines are there. A host is revoked, never deleted: attempts and charges name it."""

    list_display = (
        "name",
        "account",
        "state",
        "reach",
        "heard",
        "gpu_count",
        "reliable",
        "attention",
        "shown_sandbox",
        "region",
    )
    list_filter = ("status", "sandbox", "is_local")
    list_select_related = ("account",)
    search_fields = ("name__startswith", "hostname__startswith")
    search_help_text = "The beginning of a name or host name, or an id."
    autocomplete_fields = ("account",)
    actions = ("drain", "undrain", "maintenance", "revoke")
    actions_detail = ("drain", "undrain", "maintenance", "new_join_token", "revoke")
    when_empty = (
        "Add a host here or by POST /api/v1/hosts/. You get a join token; on the machine with the GPUs,"
        " `python -m gpus.agent run` uses it once, and the host and its GPUs appear."
    )
    pages = (
        (
            "State",
            {"fields": ("to_mend", ("state", "reach"), ("account", "heard"), ("shown_sandbox", "gpu_count"))},
        ),
        ("GPUs", {"fields": (("reliable", "away"), "curves")}),
        ("Known by", {"fields": HostForm.Meta.fields}),
        (
            "Machine",
            {"fields": (("hostname", "os"), ("cpu_count", "memory_mib"), ("executors", "is_local"), "created_at")},
        ),
        (
            "Agent",
            {
                "classes": ("collapse",),
                "fields": (
                    ("agent_version", "protocol"),
                    ("clock_skew_seconds", "boot_id"),
                    ("session", "seq"),
                    ("revision", "lease_expires_at"),
                    ("overclaims", "overclaimed_at"),
                    "join_token_expires_at",
                ),
            },
        ),
    )

    @verb_action(
        description="Drain",
        done="drained",
        form=OptionalReasonForm,
        permissions=["change"],
        icon="hourglass_bottom",
        applies=lambda host: HostStatus.DRAINING in Host.TRANSITIONS[host.status],
    )
    def drain(self, request: HttpRequest, host: Host, data: dict[str, Any]) -> None:
        host.drain(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Back to work",
        done="back at work",
        permissions=["change"],
        icon="play_arrow",
        applies=lambda host: host.status in {HostStatus.DRAINING, HostStatus.MAINTENANCE} or host.maintenance_from,
    )
    def undrain(self, request: HttpRequest, host: Host, data: dict[str, Any]) -> None:
        host.undrain(by=request.user, now=clock.now())

    @verb_action(
        description="Maintenance",
        done="in maintenance, or have it announced",
        form=MaintenanceForm,
        permissions=["change"],
        icon="build",
        applies=lambda host: host.status in (HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.MAINTENANCE),
    )
    def maintenance(self, request: HttpRequest, host: Host, data: dict[str, Any]) -> None:
        host.maintenance(
            by=request.user,
            reason=data["reason"],
            begins_at=data["begins_at"],
            ends_at=data["ends_at"],
            now=clock.now(),
        )

    @verb_action(
        description="Revoke",
        done="revoked",
        form=ReasonForm,
        permissions=["change"],
        icon="block",
        variant=ActionVariant.DANGER,
        applies=lambda host: HostStatus.REVOKED in Host.TRANSITIONS[host.status],
    )
    def revoke(self, request: HttpRequest, host: Host, data: dict[str, Any]) -> None:
        host.revoke(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="New join token",
        done="given a new join token",
        permissions=["change"],
        icon="key",
        applies=lambda host: host.status != HostStatus.REVOKED,
    )
    def new_join_token(self, request: HttpRequest, host: Host, data: dict[str, Any]) -> None:
        self._show_token(request, host, host.reissue_join_token(by=request.user, now=clock.now()))

    @display(description="Status", label=STATUS_LABELS)
    def state(self, host: Host) -> str:
        return host.get_status_display()

    @display(description="Reachable", label={"reachable": "success", "out of reach": "danger", "not heard yet": "info"})
    def reach(self, host: Host) -> str:
        if host.last_sync_at is None:
            return "not heard yet"
        return "reachable" if host.is_reachable(host.asked_at) else "out of reach"

    @display(description="Last heard")
    def heard(self, host: Host) -> str:
        return naturaltime(host.last_sync_at) if host.last_sync_at else "never"

    @display(description="Reliability")
    def reliable(self, host: Host) -> str:
        return host.reliability_shown

    @display(description="Maintenance")
    def away(self, host: Host) -> str:
        if host.maintenance_from is None or host.maintenance_until is None:
            return "—"
        return f"{host.maintenance_from:%Y-%m-%d %H:%M} to {host.maintenance_until:%Y-%m-%d %H:%M} UTC"

    @display(description="What they did in the last hour")
    def curves(self, host: Host) -> Any:
        gpus = list(host.gpus.filter(is_present=True).order_by("index", "pk")[:MOST_CURVES])
        return charts_of(gpus, now=clock.now()) if gpus else "No GPU was in its last report."

    @display(description="GPUs")
    def gpu_count(self, host: Host) -> int:
        return host.gpu_count

    @display(description="Sandbox", label={Sandbox.BUBBLEWRAP.label: "success", NO_SANDBOX: "warning"})
    def shown_sandbox(self, host: Host) -> str:
        if not host.sandbox:
            return "not known yet"
        return NO_SANDBOX if host.sandbox == Sandbox.NONE else host.get_sandbox_display()

    @display(
        description="Attention",
        label={"failing": "danger", "session conflict": "danger", "elapsed too long": "warning"},
    )
    def attention(self, host: Host) -> str:
        return ", ".join(trouble.code.replace("_", " ") for trouble in troubles(host, host.asked_at))

    @display(description="To be mended")
    def to_mend(self, host: Host) -> str:
        found = troubles(host, host.asked_at)
        rows = ((trouble.detail, trouble.hint) for trouble in found)
        return format_html_join("", "<p>{}<br>What to do: {}</p>", rows) if found else "nothing"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Host]:
        gpus = GPU.objects.filter(host=OuterRef("pk")).order_by().values("host").annotate(n=Count("pk")).values("n")
        return (
            super()
            .get_queryset(request)
            .annotate(
                gpu_count=Coalesce(Subquery(gpus), 0),
                asked_at=Value(clock.now(), output_field=DateTimeField()),
            )
        )

    def get_form(self, request: HttpRequest, obj: Host | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = HostForm if change else NewHostForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Host | None = None) -> Any:
        return ((None, {"fields": NewHostForm.Meta.fields}),) if obj is None else self.pages

    def get_readonly_fields(self, request: HttpRequest, obj: Host | None = None) -> list[str]:
        if obj is None:
            return []
        return [name for name in flatten_fieldsets(self.pages) if name not in HostForm.Meta.fields]

    def save_model(self, request: HttpRequest, obj: Host, form: forms.ModelForm, change: bool) -> None:
        terms = {name: form.cleaned_data[name] for name in HostForm.Meta.fields}
        if change:
            Host.objects.get(pk=obj.pk).describe(by=request.user, now=clock.now(), **terms)
            return
        host, token = services.register_host(account=obj.account, by=request.user, now=clock.now(), **terms)
        obj.pk = host.pk
        self._show_token(request, host, token)

    def has_delete_permission(self, request: HttpRequest, obj: Host | None = None) -> bool:
        return False

    def _show_token(self, request: HttpRequest, host: Host, token: str) -> None:
        told = format_html(
            "Join token of {}, shown only now and good for {} minutes. On that machine:"
            " <code>GAAS_JOIN_TOKEN={} python -m gpus.agent run --server {}</code>",
            host.name,
            f"{settings.JOIN_TOKEN_SECONDS / 60:g}",
            token,
            settings.BASE_URL,
        )
        self.message_user(request, told, messages.WARNING)
