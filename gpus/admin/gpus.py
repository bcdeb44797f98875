"""GPUs: what is there, what it could do now, and on which terms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import LeanAdmin
from gaas.lib.reasons import OptionalReasonForm, verb_action
from gpus.admin.forms import GPUForm
from gpus.choices import Availability, GPUStatus, Visibility
from gpus.looks import charts_of
from gpus.models import GPU

AVAILABILITY_LABELS = {
    Availability.AVAILABLE.label: "success",
    Availability.BUSY.label: "info",
    Availability.OCCUPIED.label: "warning",
    Availability.CLOSED.label: "info",
    Availability.DRAINING.label: "warning",
    Availability.MAINTENANCE.label: "warning",
    Availability.OFFLINE.label: "danger",
    Availability.UNLISTED.label: "primary",
    Availability.RETIRED.label: "primary",
}
STATUS_LABELS = {
    GPUStatus.LISTED.label: "success",
    GPUStatus.DRAINING.label: "warning",
    GPUStatus.UNLISTED.label: "info",
    GPUStatus.RETIRED.label: "primary",
}


class AvailabilityFilter(admin.SimpleListFilter):
    """Filter by what is derived."""

    title = "availability"
    parameter_name = "availability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Availability.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[GPU]) -> QuerySet[GPU]:
        return queryset.filter(availability=self.value()) if self.value() in Availability.values else queryset


@admin.register(GPU)
class GPUAdmin(LeanAdmin):
    """Show the fleet. Rows come from agents' reports; people set the terms and list or unlist."""

    form = GPUForm
    list_display = (
        "model",
        "kind",
        "host",
        "owner",
        "now_it_is",
        "state",
        "price",
        "takes_quota",
        "whose",
        "reliability",
        "heard",
    )
    list_filter = ("status", AvailabilityFilter, "visibility", "is_simulated")
    list_select_related = ("host__account",)
    search_fields = ("uuid__exact", "model__startswith", "host__name__startswith")
    search_help_text = "The beginning of a model or of a host's name, a device id, or an id."
    actions = ("list_it", "unlist", "drain", "undrain", "retire")
    actions_detail = ("list_it", "unlist", "drain", "undrain", "retire")
    when_empty = "GPUs appear by themselves when the agent of a host reports them: add a host and start its agent."
    fieldsets = (
        ("Offer", {"fields": (("now_it_is", "state"), ("owner", "first_listed_at"))}),
        ("Terms", {"fields": ("price_usd", "visibility", "accepts_quota", "labels", "schedule", "turns")}),
        ("The last hour", {"fields": ("curves", "foreign_processes")}),
        (
            "Device",
            {
                "fields": (
                    ("model", "kind"),
                    ("host", "index"),
                    ("vram_mib", "compute_capability"),
                    ("driver", "uuid"),
                    ("heard", "created_at"),
                    "metrics",
                )
            },
        ),
    )
    terms = ("price_usd", "visibility", "accepts_quota", "labels", "schedule")

    @verb_action(
        description="List",
        done="listed",
        form=OptionalReasonForm,
        permissions=["list"],
        icon="storefront",
        variant=ActionVariant.SUCCESS,
        applies=lambda gpu: gpu.status == GPUStatus.UNLISTED,
    )
    def list_it(self, request: HttpRequest, gpu: GPU, data: dict[str, Any]) -> None:
        gpu.list(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Unlist",
        done="unlisted",
        form=OptionalReasonForm,
        permissions=["change"],
        icon="visibility_off",
        applies=lambda gpu: GPUStatus.UNLISTED in GPU.TRANSITIONS[gpu.status],
    )
    def unlist(self, request: HttpRequest, gpu: GPU, data: dict[str, Any]) -> None:
        gpu.unlist(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Drain",
        done="drained",
        form=OptionalReasonForm,
        permissions=["change"],
        icon="hourglass_bottom",
        applies=lambda gpu: GPUStatus.DRAINING in GPU.TRANSITIONS[gpu.status],
    )
    def drain(self, request: HttpRequest, gpu: GPU, data: dict[str, Any]) -> None:
        gpu.drain(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Back to work",
        done="back at work",
        permissions=["change"],
        icon="play_arrow",
        applies=lambda gpu: gpu.status == GPUStatus.DRAINING,
    )
    def undrain(self, request: HttpRequest, gpu: GPU, data: dict[str, Any]) -> None:
        gpu.undrain(by=request.user, now=clock.now())

    @verb_action(
        description="Retire",
        done="retired",
        form=OptionalReasonForm,
        permissions=["change"],
        icon="inventory_2",
        variant=ActionVariant.DANGER,
        applies=lambda gpu: GPUStatus.RETIRED in GPU.TRANSITIONS[gpu.status],
    )
    def retire(self, request: HttpRequest, gpu: GPU, data: dict[str, Any]) -> None:
        gpu.retire(by=request.user, reason=data["reason"], now=clock.now())

    @display(description="Kind", label={"simulated": "warning"})
    def kind(self, gpu: GPU) -> str:
        return "simulated" if gpu.is_simulated else "hardware"

    @display(description="Owner")
    def owner(self, gpu: GPU) -> str:
        return str(gpu.host.account)

    @display(description="Now", label=AVAILABILITY_LABELS)
    def now_it_is(self, gpu: GPU) -> str:
        return Availability(gpu.availability).label

    @display(description="Offer", label=STATUS_LABELS)
    def state(self, gpu: GPU) -> str:
        return gpu.get_status_display()

    @display(description="USD an hour")
    def price(self, gpu: GPU) -> str:
        return gpu.price_shown

    @display(description="Quota", boolean=True)
    def takes_quota(self, gpu: GPU) -> bool:
        return gpu.accepts_quota

    @display(description="For")
    def whose(self, gpu: GPU) -> str:
        return Visibility(gpu.visibility).name.capitalize()

    @display(description="Reliability")
    def reliability(self, gpu: GPU) -> str:
        return gpu.host.reliability_shown

    @display(description="What it did")
    def curves(self, gpu: GPU) -> Any:
        return charts_of([gpu], now=clock.now())

    @display(description="Opens or closes next")
    def turns(self, gpu: GPU) -> str:
        if gpu.turns_at is None:
            return "never: it is always open"
        return f"{'opens' if gpu.is_closed else 'closes'} {gpu.turns_at:%Y-%m-%d %H:%M} UTC"

    @display(description="Last heard")
    def heard(self, gpu: GPU) -> str:
        return naturaltime(gpu.seen_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GPU]:
        return super().get_queryset(request).select_related("host__account").with_availability(now=clock.now())

    def get_readonly_fields(self, request: HttpRequest, obj: GPU | None = None) -> list[str]:
        return [name for name in flatten_fieldsets(self.fieldsets) if name not in self.terms]

    def save_model(self, request: HttpRequest, obj: GPU, form: forms.ModelForm, change: bool) -> None:
        new = form.cleaned_data
        GPU.objects.select_related("host").get(pk=obj.pk).offer(
            by=request.user,
            now=clock.now(),
            price_per_hour=new["price_usd"],
            visibility=new["visibility"],
            accepts_quota=new["accepts_quota"],
            labels=new["labels"],
            schedule=new["schedule"],
        )

    def has_list_permission(self, request: HttpRequest, obj: GPU | None = None) -> bool:
        return request.user.has_perm("gpus.list_gpu") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: GPU | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: GPU | None = None) -> bool:
        return False
