"""Accounts as a tree, with what each can spend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts import services
from accounts.admin.families import ApprovalThresholdInline, CapRuleInline
from accounts.admin.forms import AccountForm, CapForm, GrantHoursForm, LimitForm, StorageForm
from accounts.choices import AccountKind, CapPeriod, Role
from accounts.models import Account, Membership
from gaas.audit.history import changed_by
from gaas.audit.services import record
from gaas.lib import clock
from gaas.lib.admin import HistoryAdmin, LeanAdmin
from gaas.lib.amounts import show_bytes, show_hours, show_micro
from gaas.lib.errors import DomainError
from gaas.lib.reasons import ReasonForm, verb_action


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)
    fields = ("user", "role")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # The head of the column names it for the eye alone.
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.widget.attrs["aria-label"] = db_field.verbose_name
        return field


@admin.register(Account)
class AccountAdmin(HistoryAdmin, LeanAdmin):
    """Show the tree. Accounts stay: transfers and charges name them."""

    form = AccountForm
    list_display = ("in_tree", "kind", "pays_from", "hours_available", "hours_held", "wallet_available", "wallet_held")
    list_filter = ("kind", "pays_from")
    search_fields = ("name__startswith", "person__email__startswith")
    search_help_text = "The beginning of a name or of a person's e-mail address, or an id."
    # The path puts children under their parents; its unique index gives that order.
    ordering = ("path",)
    autocomplete_fields = ("parent",)
    list_select_related = ("person",)
    inlines = (MembershipInline, CapRuleInline, ApprovalThresholdInline)
    actions = ("grant_hours",)
    actions_detail = ("grant_hours", "set_cap", "set_threshold", "set_storage", "close")
    shown = (
        "kind",
        "person",
        "hours_available",
        "hours_held",
        "wallet_available",
        "wallet_held",
        "storage",
        "books",
        "created_at",
        "closed_at",
    )

    @verb_action(
        description="Grant hours", done="granted", form=GrantHoursForm, permissions=["grant_hours"], icon="more_time"
    )
    def grant_hours(self, request: HttpRequest, account: Account, data: dict[str, Any]) -> None:
        services.grant_hours(
            account=account,
            gpu_ms=data["hours"],
            by=request.user,
            reason=data["reason"],
            key=f"grant:{data['key']}:{account.pk}",
        )

    @verb_action(
        description="Cap",
        done="capped",
        form=CapForm,
        permissions=["change"],
        icon="speed",
        applies=lambda account: account.parent_id is not None and account.closed_at is None,
    )
    def set_cap(self, request: HttpRequest, account: Account, data: dict[str, Any]) -> None:
        services.set_cap(
            account=account,
            asset=data["asset"],
            period=CapPeriod(data["period"]),
            limit=data["amount"],
            by=request.user,
            now=clock.now(),
        )

    @verb_action(
        description="Ask managers above",
        done="given a threshold",
        form=LimitForm,
        permissions=["change"],
        icon="rule",
        applies=lambda account: account.closed_at is None,
    )
    def set_threshold(self, request: HttpRequest, account: Account, data: dict[str, Any]) -> None:
        services.set_threshold(account=account, asset=data["asset"], above=data["amount"], by=request.user)

    @verb_action(
        description="Storage", done="given storage", form=StorageForm, permissions=["change"], icon="hard_drive"
    )
    def set_storage(self, request: HttpRequest, account: Account, data: dict[str, Any]) -> None:
        quota = None if data["gib"] is None else data["gib"] * 1024**3
        services.set_storage_quota(account=account, quota_bytes=quota, by=request.user, reason=data["reason"])

    @verb_action(
        description="Close",
        done="closed",
        form=ReasonForm,
        permissions=["change"],
        icon="block",
        variant=ActionVariant.DANGER,
        applies=lambda account: account.kind == AccountKind.ORGANISATION and account.closed_at is None,
    )
    def close(self, request: HttpRequest, account: Account, data: dict[str, Any]) -> None:
        services.close_account(account=account, by=request.user, reason=data["reason"], now=clock.now())

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """Change a name or who pays by the verbs, which lock and keep the record."""
        if not change:
            super().save_model(request, changed_by(obj, request.user), form, change)
            record(action="account.create", obj=obj, by=request.user, after={"name": obj.name})
            return
        changes = {name: form.cleaned_data[name] for name in ("name", "pays_from") if name in form.changed_data}
        self._try(
            request,
            lambda: services.change_account(account=Account.objects.get(pk=obj.pk), changes=changes, by=request.user),
        )

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Add, change and remove members by the verbs: none leaves an account without an owner or without a trace."""
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        formset.save(commit=False)
        for member in formset.new_objects:
            self._try(
                request,
                partial(
                    services.add_member,
                    account=form.instance,
                    user=member.user,
                    role=Role(member.role),
                    by=request.user,
                ),
            )
        for member, fields in formset.changed_objects:
            if "user" in fields:
                self.message_user(request, "Remove a member and add another instead.", messages.ERROR)
            else:
                self._try(
                    request, partial(services.change_role, membership=member, role=Role(member.role), by=request.user)
                )
        for member in formset.deleted_objects:
            self._try(request, partial(services.remove_member, membership=member, by=request.user))

    def _try(self, request: HttpRequest, verb: Callable[[], object]) -> None:
        try:
            verb()
        except DomainError as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)

    @display(description="Account")
    def in_tree(self, account: Account) -> str:
        return format_html("{}{}", "\u2003" * (account.depth - 1), account.name)

    @display(description="Hours available")
    def hours_available(self, account: Account) -> str:
        return show_hours(_balances(account).hours_available)

    @display(description="Hours held")
    def hours_held(self, account: Account) -> str:
        return show_hours(_balances(account).hours_held)

    @display(description="Wallet available, USD")
    def wallet_available(self, account: Account) -> str:
        return show_micro(_balances(account).wallet_available)

    @display(description="Wallet held, USD")
    def wallet_held(self, account: Account) -> str:
        return show_micro(_balances(account).wallet_held)

    @display(description="Storage of its files")
    def storage(self, account: Account) -> str:
        storage = services.storage_of(account)
        return f"{show_bytes(storage.used)} of {show_bytes(storage.quota)}"

    @display(description="In the books")
    def books(self, account: Account) -> str:
        """Lead to its balances, and from there to each transfer and what caused it."""
        address = f"{reverse('admin:ledger_balance_changelist')}?{urlencode({'q': account.owner_key})}"
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500 underline" href="{}">Balances and transfers</a>', address
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the balances of the whole page at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        balances = services.balances_of_each(changelist.result_list)
        for account in changelist.result_list:
            account.balances = balances[account.pk]
        return changelist

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "parent", "pays_from")
        may_read_books = request.user.has_perm("ledger.view_balance")
        shown = [name for name in self.shown if name != "books" or may_read_books]
        return ("name", "parent", "pays_from", *shown)

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        # A new account is an organisation's; where it stands in the tree is settled by its first save.
        return () if obj is None else ("parent", *self.shown)

    def has_grant_hours_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.grant_hours")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _balances(account: Account) -> services.AccountBalances:
    """Give what the list page read for all, else read it once for a page of one."""
    if not hasattr(account, "balances"):
        account.balances = services.balances_of(account)
    return account.balances
