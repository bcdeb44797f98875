"""Accounts as a tree, with what each can spend."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display

from accounts import services
from accounts.admin.forms import AccountForm, GrantHoursForm
from accounts.models import Account, Membership
from gaas.lib.admin import LeanAdmin
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.reasons import verb_action


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
class AccountAdmin(LeanAdmin):
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
    inlines = (MembershipInline,)
    actions = ("grant_hours",)
    actions_detail = ("grant_hours",)
    shown = ("kind", "person", "hours_available", "hours_held", "wallet_available", "wallet_held", "created_at")

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

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the balances of the whole page at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        balances = services.balances_of_each(changelist.result_list)
        for account in changelist.result_list:
            account.balances = balances[account.pk]
        return changelist

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        return ("name", "parent", "pays_from") if obj is None else ("name", "parent", "pays_from", *self.shown)

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
