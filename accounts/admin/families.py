"""Invitations, caps, thresholds and alerts: to look at, and to take back."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from simple_history.template_utils import HistoricalRecordContextHelper
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts import services
from accounts.models import ApprovalThreshold, BudgetAlert, CapRule, Invitation, LowMark
from accounts.models.limits import Limit
from gaas.lib import clock
from gaas.lib.admin import HistoryAdmin, ViewOnlyAdmin
from gaas.lib.reasons import verb_action


class ViewOnlyInline(TabularInline):
    """Show rows of an account that its verbs write."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class CapRuleInline(ViewOnlyInline):
    model = CapRule
    fields = ("__str__", "updated_at")
    readonly_fields = ("__str__", "updated_at")


class ApprovalThresholdInline(ViewOnlyInline):
    model = ApprovalThreshold
    fields = ("__str__", "updated_at")
    readonly_fields = ("__str__", "updated_at")


@admin.register(Invitation)
class InvitationAdmin(ViewOnlyAdmin):
    """Show who was invited to what, or asked to put an account below another; the letters' tokens are nowhere."""

    list_display = ("created_at", "email", "account", "kind", "offered_role", "invited_by", "state", "expires_at")
    list_filter = ("kind", "role", ("accepted_at", admin.EmptyFieldListFilter))
    list_select_related = ("account", "invited_by")
    search_fields = ("email__startswith",)
    search_help_text = "The beginning of an e-mail address in lower case, or an id."
    fields = (
        "account",
        "email",
        "kind",
        "offered_role",
        "pays_from",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_at",
        "accepted_by",
        "child",
        "revoked_at",
    )
    readonly_fields = ("offered_role",)
    when_empty = "Invitations appear when a manager of an account invites somebody by mail."
    actions = ("revoke",)
    actions_detail = ("revoke",)

    @verb_action(
        description="Withdraw",
        done="withdrawn",
        permissions=["revoke"],
        icon="cancel_schedule_send",
        variant=ActionVariant.DANGER,
        applies=lambda invitation: invitation.is_open,
    )
    def revoke(self, request: HttpRequest, invitation: Invitation, data: dict[str, Any]) -> None:
        services.revoke_invitation(invitation=invitation, by=request.user, now=clock.now())

    @display(description="State", label={"open": "warning", "accepted": "success", "withdrawn": "danger"})
    def state(self, invitation: Invitation) -> str:
        if invitation.accepted_at:
            return "accepted"
        return "withdrawn" if invitation.revoked_at else "open"

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_invitation")


class InTheirUnit(HistoricalRecordContextHelper):
    """Write what changed of a cap or a threshold as people read it: hours or dollars, not the ledger's integers."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        if change.field in ("limit", "above") and isinstance(value, int):
            return Limit.show(self.record, value)
        return super().prepare_delta_change_value(change, value)


class LimitHistory(HistoryAdmin):
    """Show how a limit stood, in its own unit."""

    def get_historical_record_context_helper(self, request: HttpRequest, historical_record: Any) -> InTheirUnit:
        return InTheirUnit(self.model, historical_record)


@admin.register(CapRule)
class CapRuleAdmin(LimitHistory, ViewOnlyAdmin):
    """Show what parents allow; a cap is set on its account's page."""

    list_display = ("account", "__str__", "asset", "period", "updated_at")
    list_filter = ("asset", "period")
    list_select_related = ("account",)
    search_fields = ("account__name__startswith",)
    search_help_text = "The beginning of an account's name, or an id."
    fields = ("account", "__str__", "asset", "period", "created_at", "updated_at")
    readonly_fields = ("__str__", "created_at", "updated_at")
    when_empty = "A cap bounds what an account below another may hold in a period; set it on the account's page."
    actions = ("lift",)
    actions_detail = ("lift",)

    @verb_action(
        description="Lift",
        done="lifted",
        permissions=["lift"],
        icon="lock_open",
        variant=ActionVariant.DANGER,
    )
    def lift(self, request: HttpRequest, rule: CapRule, data: dict[str, Any]) -> None:
        services.remove_cap(rule=rule, by=request.user)

    def has_lift_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_account")


@admin.register(ApprovalThreshold)
class ApprovalThresholdAdmin(LimitHistory, ViewOnlyAdmin):
    """Show above what a manager approves first; a threshold is set on its account's page."""

    list_display = ("account", "__str__", "asset", "updated_at")
    list_filter = ("asset",)
    list_select_related = ("account",)
    search_fields = ("account__name__startswith",)
    search_help_text = "The beginning of an account's name, or an id."
    fields = ("account", "__str__", "asset", "created_at", "updated_at")
    readonly_fields = ("__str__", "created_at", "updated_at")
    when_empty = "A threshold puts the yes of a manager before staff's; set it on the account's page."
    actions = ("remove",)
    actions_detail = ("remove",)

    @verb_action(
        description="Remove",
        done="removed",
        permissions=["remove"],
        icon="rule_settings",
        variant=ActionVariant.DANGER,
    )
    def remove(self, request: HttpRequest, threshold: ApprovalThreshold, data: dict[str, Any]) -> None:
        services.remove_threshold(threshold=threshold, by=request.user)

    def has_remove_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_account")


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ViewOnlyAdmin):
    """Show when people were told that a budget runs out."""

    list_display = ("created_at", "account", "percent", "detail")
    list_filter = ("percent",)
    list_select_related = ("account",)
    search_fields = ("account__name__startswith",)
    search_help_text = "The beginning of an account's name, or an id."
    fields = ("account", "percent", "detail", "key", "created_at")
    when_empty = "Alerts appear when 80 % and 100 % of a cap or of a gift are used."


@admin.register(LowMark)
class LowMarkAdmin(ViewOnlyAdmin):
    """Show below what an account's people are told, and who was; a mark is set on its account's page."""

    list_display = ("account", "asset", "__str__", "is_low", "updated_at")
    list_filter = ("asset", "is_low")
    list_select_related = ("account",)
    search_fields = ("account__name__startswith",)
    search_help_text = "The beginning of an account's name, or an id."
    fields = ("account", "asset", "__str__", "is_low", "created_at", "updated_at")
    readonly_fields = ("__str__", "created_at", "updated_at")
    when_empty = "A mark appears when somebody sets one on an account's page, or an account runs low."
