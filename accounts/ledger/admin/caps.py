from __future__ import annotations

from django.contrib import admin

from accounts.ledger.models import Cap, HoldCap
from gaas.lib.admin import ViewOnlyAdmin


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
