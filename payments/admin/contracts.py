from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ReadOnlyInline, ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from gaas.lib.reasons import OptionalReasonForm, ReasonForm, verb_action
from payments import services
from payments.admin import looks
from payments.choices import ContractStatus, PeriodStatus
from payments.models import Contract, ContractEvent, ContractPeriod, ContractTerms
from payments.schedule import FIRST_DAY, LAST_DAY


class TermsInline(ReadOnlyInline):
    model = ContractTerms
    fields = ("version", "gives", "usd", "fee_usd", "policies", "ends_on", "accepted", "effective_no")
    readonly_fields = fields
    ordering = ("-version",)
    verbose_name_plural = "Terms"

    @display(description="A period gives")
    def gives(self, terms: ContractTerms) -> str:
        return terms.shown_amount

    @display(description="Price, USD")
    def usd(self, terms: ContractTerms) -> str:
        return show_micro(terms.price)

    @display(description="Of it the fee, USD")
    def fee_usd(self, terms: ContractTerms) -> str:
        return show_micro(terms.fee)

    @display(description="Shortfall · unused · pause · end")
    def policies(self, terms: ContractTerms) -> str:
        said = ("shortfall", "roll_over", "catch_up", "renewal")
        return " · ".join(getattr(terms, f"get_{name}_display")() for name in said)

    @display(description="Accepted by")
    def accepted(self, terms: ContractTerms) -> str:
        if terms.declined_at:
            return "declined or replaced"
        people = [str(by) for by in (terms.payer_accepted_by, terms.payee_accepted_by) if by]
        return " and ".join(people) if terms.effective_no is not None else f"{', '.join(people)}; the other side waits"


class PeriodInline(ReadOnlyInline):
    model = ContractPeriod
    fields = ("no", "status", "due_at", "opened_at", "gave", "usd", "gone", "reason")
    readonly_fields = fields
    ordering = ("-no",)
    verbose_name_plural = "The last periods"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("terms__asset")

    @display(description="Gave")
    def gave(self, period: ContractPeriod) -> str:
        return period.terms.asset.show(period.amount) if period.amount else "—"

    @display(description="Cost, USD")
    def usd(self, period: ContractPeriod) -> str:
        return show_micro(period.price) if period.price else "—"

    @display(description="Lapsed or went back")
    def gone(self, period: ContractPeriod) -> str:
        return period.terms.asset.show(period.lapsed) if period.lapsed else "—"


class ContractEventInline(ReadOnlyInline):
    model = ContractEvent
    fields = ("at", "from_status", "to_status", "by_label", "reason")
    readonly_fields = fields
    ordering = ("-id",)
    verbose_name_plural = "What happened"


@admin.register(Contract)
class ContractAdmin(ViewOnlyAdmin):
    """See what accounts agreed on, what is due and what went wrong; pause, resume and cancel for them."""

    list_display = ("title", "kind", "payer", "payee", "state", "next_due_shown", "trouble", "created_at")
    list_filter = ("status", "kind", "interval")
    list_select_related = ("payer", "payee")
    search_fields = ("title__startswith", "payer__name__startswith", "payee__name__startswith")
    search_help_text = "The beginning of the title or of an account's name, or an id."
    inlines = (TermsInline, PeriodInline, ContractEventInline)
    when_empty = "Contracts are made by the accounts themselves, on their pages and over REST."
    change_list_template = "admin/payments/contracts.html"
    actions = ("pause", "resume", "cancel")
    actions_detail = ("pause", "resume", "cancel", "look_now")
    fields = (
        ("title", "kind"),
        ("payer", "payee"),
        ("status", "next_due_shown"),
        ("anchor_on", "interval"),
        ("time_zone", "starts_on"),
        ("next_no", "stop_no"),
        ("hours_left", "due_at"),
        ("tries", "retry_at", "faults"),
        "trouble",
        ("created_by", "created_at"),
        ("activated_at", "ended_at"),
    )
    readonly_fields = ("status", "next_due_shown", "hours_left", "created_at")

    @verb_action(
        description="Pause",
        done="paused",
        form=ReasonForm,
        permissions=["change_running"],
        icon="pause",
        applies=lambda contract: contract.status in (ContractStatus.ACTIVE, ContractStatus.PAST_DUE),
    )
    def pause(self, request: HttpRequest, contract: Contract, data: dict[str, Any]) -> None:
        services.pause_contract(contract_id=contract.pk, by=request.user, now=clock.now(), reason=data["reason"])

    @verb_action(
        description="Resume",
        done="resumed",
        form=OptionalReasonForm,
        permissions=["change_running"],
        icon="play_arrow",
        variant=ActionVariant.SUCCESS,
        applies=lambda contract: contract.status in (ContractStatus.PAUSED, ContractStatus.SUSPENDED),
    )
    def resume(self, request: HttpRequest, contract: Contract, data: dict[str, Any]) -> None:
        services.resume_contract(contract_id=contract.pk, by=request.user, now=clock.now(), reason=data["reason"])

    @verb_action(
        description="Cancel at the period's end",
        done="cancelled",
        form=ReasonForm,
        permissions=["change_running"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=lambda contract: contract.is_running and contract.stop_no is None,
    )
    def cancel(self, request: HttpRequest, contract: Contract, data: dict[str, Any]) -> None:
        services.cancel_contract(contract_id=contract.pk, by=request.user, now=clock.now(), reason=data["reason"])

    @verb_action(
        description="Process what is due now",
        done="looked at",
        permissions=["change_running"],
        icon="update",
        applies=lambda contract: contract.due_at is not None,
    )
    def look_now(self, request: HttpRequest, contract: Contract, data: dict[str, Any]) -> None:
        services.tick(contract_id=contract.pk, now=clock.now())

    @display(description="Status", label=looks.CONTRACT)
    def state(self, contract: Contract) -> tuple[str, str]:
        return contract.status, contract.get_status_display()

    @display(description="Next period")
    def next_due_shown(self, contract: Contract) -> str:
        if contract.is_open or contract.next_due is None:
            return "none"
        return f"{contract.schedule.day(contract.next_no)} ({contract.time_zone})"

    @display(description="Reserved hours left")
    def hours_left(self, contract: Contract) -> str:
        left = services.left_of(contract)
        return "—" if left is None else f"{left.asset.show(left.available)}, {left.asset.show(left.held)} held"

    def has_change_running_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.change_contract")

    def get_urls(self) -> list[Any]:
        page = path("calendar/", self.admin_site.admin_view(self.calendar), name="payments_contract_calendar")
        return [page, *super().get_urls()]

    def calendar(self, request: HttpRequest) -> HttpResponse:
        """Show a month of what is due, and of what was done."""
        if not request.user.has_perm("payments.view_contract"):
            raise PermissionDenied
        first = _month(request.GET.get("month"), clock.now().date())
        context = {
            **self.admin_site.each_context(request),
            "title": f"Contracts due in {first:%B %Y}",
            "opts": self.opts,
            "month": services.month_of(first),
            "today": clock.now().date(),
            "before": first - timedelta(days=1),
            "after": (first + timedelta(days=32)).replace(day=1),
            "weekdays": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        }
        return TemplateResponse(request, "admin/payments/calendar.html", context)


def _month(named: str | None, today: date) -> date:
    """Read "2027-02"; without a name the present month. Raises Http404 for what is none."""
    if named is None:
        return today.replace(day=1)
    try:
        first = date.fromisoformat(f"{named}-01")
    except ValueError as error:
        raise Http404 from error
    if not FIRST_DAY <= first < LAST_DAY:
        raise Http404
    return first


class OfContractAdmin(ViewOnlyAdmin):
    """What a contract's page shows, in lists of their own."""

    list_select_related = ("contract",)


@admin.register(ContractTerms)
class ContractTermsAdmin(OfContractAdmin):
    list_display = ("contract", "version", "shown_amount", "ends_on", "effective_no", "created_at")
    list_select_related = ("contract", "asset")
    when_empty = "Terms come with contracts."


@admin.register(ContractPeriod)
class ContractPeriodAdmin(OfContractAdmin):
    list_display = ("contract", "no", "state", "due_at", "opened_at", "gave", "reason")
    list_filter = ("status",)
    list_select_related = ("contract", "terms__asset")
    when_empty = "Periods come with contracts that both sides accepted."

    @display(description="Status", label={PeriodStatus.PAID: "success", PeriodStatus.SKIPPED: "warning"})
    def state(self, period: ContractPeriod) -> tuple[str, str]:
        return period.status, period.get_status_display()

    @display(description="Gave")
    def gave(self, period: ContractPeriod) -> str:
        return period.terms.asset.show(period.amount) if period.amount else "—"


@admin.register(ContractEvent)
class ContractEventAdmin(OfContractAdmin):
    list_display = ("at", "contract", "from_status", "to_status", "by_label", "reason")
    when_empty = "What happens to contracts is noted here."
