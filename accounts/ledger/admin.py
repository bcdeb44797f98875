"""The books, to look at: nobody changes them here."""

from __future__ import annotations

from django.contrib import admin

from accounts.ledger.models import (
    Asset,
    Balance,
    BalanceSnapshot,
    Cap,
    Hold,
    HoldCap,
    Transfer,
    TransferSeal,
)
from gaas.lib.admin import ViewOnlyAdmin


@admin.register(Asset)
class AssetAdmin(ViewOnlyAdmin):
    list_display = ("code", "kind", "scale")
    ordering = ("pk",)


@admin.register(Balance)
class BalanceAdmin(ViewOnlyAdmin):
    when_empty = "Balances appear with the first account."
    list_display = ("owner_key", "kind", "asset_id", "posted_shown", "held_shown", "available_shown", "state")
    list_filter = ("asset", "frozen_in", "frozen_out")
    list_select_related = ("asset",)
    search_fields = ("owner_key__exact", "kind__exact")
    search_help_text = "Owner key (acct:…, sys:…), kind, or id, in full"
    fields = (
        ("owner_key", "kind"),
        ("asset", "state"),
        ("posted_shown", "total_shown"),
        ("held_shown", "available_shown"),
        ("frozen_in", "frozen_out"),
        ("created_at", "closed_at"),
    )
    readonly_fields = ("posted_shown", "total_shown", "held_shown", "available_shown", "state", "created_at")

    @admin.display(description="Posted")
    def posted_shown(self, balance: Balance) -> str:
        # Adding up each platform balance would read all its transfers for one line of a list.
        return "added up" if balance.is_lazy else balance.asset.show(balance.posted)

    @admin.display(description="Held")
    def held_shown(self, balance: Balance) -> str:
        return balance.asset.show(balance.held)

    @admin.display(description="Available")
    def available_shown(self, balance: Balance) -> str:
        return "no bound" if balance.floor is None else balance.asset.show(balance.available)

    @admin.display(description="Comes to")
    def total_shown(self, balance: Balance) -> str:
        return balance.asset.show(balance.total())

    @admin.display(description="State")
    def state(self, balance: Balance) -> str:
        if balance.closed_at:
            return "closed"
        frozen = [word for word, is_frozen in (("in", balance.frozen_in), ("out", balance.frozen_out)) if is_frozen]
        return f"frozen {' and '.join(frozen)}" if frozen else "open"


@admin.register(Transfer)
class TransferAdmin(ViewOnlyAdmin):
    when_empty = "Transfers appear when hours are granted, charged or given back."
    list_display = ("created_at", "kind", "amount_shown", "debit", "credit", "key", "actor")
    list_filter = ("asset",)
    list_select_related = ("asset", "debit", "credit")
    search_fields = ("key__startswith", "ref__exact")
    search_help_text = "Beginning of a key, a whole reference, or an id"
    fields = ("key", "kind", "amount_shown", "debit", "credit", "hold", "reverses", "group", "ref", "actor", "memo")
    fields += ("effective_at", "created_at")
    readonly_fields = ("amount_shown", "created_at")

    @admin.display(description="Amount")
    def amount_shown(self, transfer: Transfer) -> str:
        return transfer.asset.show(transfer.amount)


@admin.register(Hold)
class HoldAdmin(ViewOnlyAdmin):
    when_empty = "Holds appear when tasks are submitted."
    list_display = ("created_at", "balance", "purpose", "amount_shown", "captured_shown", "open_shown", "state", "key")
    list_filter = ("state",)
    list_select_related = ("balance__asset",)
    search_fields = ("key__startswith",)
    search_help_text = "Beginning of a key, or an id"
    fields = ("balance", "key", "purpose", "ref", "amount_shown", "captured_shown", "open_shown", "state", "spender")
    fields += ("expires_at", "created_at", "closed_at")
    readonly_fields = ("amount_shown", "captured_shown", "open_shown", "created_at")

    @admin.display(description="Held")
    def amount_shown(self, hold: Hold) -> str:
        return hold.balance.asset.show(hold.amount)

    @admin.display(description="Captured")
    def captured_shown(self, hold: Hold) -> str:
        return hold.balance.asset.show(hold.captured)

    @admin.display(description="Still open")
    def open_shown(self, hold: Hold) -> str:
        return hold.balance.asset.show(hold.open_amount)


@admin.register(Cap)
class CapAdmin(ViewOnlyAdmin):
    when_empty = "Caps appear when somebody bounds what an account may spend in a period."
    list_display = ("owner_key", "asset_id", "period", "starts_at", "ends_at", "limit_shown", "used_shown")
    list_filter = ("asset", "period")
    list_select_related = ("asset",)
    search_fields = ("owner_key__exact",)
    search_help_text = "Owner key (acct:…) or id, in full"
    fields = ("owner_key", "asset", "period", "starts_at", "ends_at", "limit_shown", "used_shown")
    readonly_fields = ("limit_shown", "used_shown")

    @admin.display(description="Limit")
    def limit_shown(self, cap: Cap) -> str:
        return cap.asset.show(cap.limit)

    @admin.display(description="Used")
    def used_shown(self, cap: Cap) -> str:
        return cap.asset.show(cap.used)


@admin.register(HoldCap)
class HoldCapAdmin(ViewOnlyAdmin):
    list_display = ("hold", "cap")
    list_select_related = ("hold", "cap")


@admin.register(BalanceSnapshot)
class BalanceSnapshotAdmin(ViewOnlyAdmin):
    list_display = ("balance", "before", "posted_shown")
    list_select_related = ("balance__asset",)

    @admin.display(description="Posted")
    def posted_shown(self, snapshot: BalanceSnapshot) -> str:
        return snapshot.balance.asset.show(snapshot.posted)


@admin.register(TransferSeal)
class TransferSealAdmin(ViewOnlyAdmin):
    list_display = ("before", "count", "digest")
