from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts.ledger import causes
from accounts.ledger.models import Hold
from gaas.lib.admin import KeysetAdmin

LEGS = 50


@admin.register(Hold)
class HoldAdmin(KeysetAdmin):
    """Show promises, what each is for, and what was paid out of it."""

    when_empty = "Holds appear when tasks are submitted."
    list_display = (
        "created_at",
        "balance",
        "purpose",
        "amount_shown",
        "captured_shown",
        "open_shown",
        "state",
        "cause",
    )
    list_filter = ("state",)
    list_select_related = ("balance__asset",)
    search_fields = ("key__startswith",)
    search_help_text = "Beginning of a key, or an id"
    change_form_outer_after_template = "admin/ledger/of_transfer.html"
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

    @display(description="For")
    def cause(self, hold: Hold) -> SafeString | str:
        return getattr(hold, "causes", "")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        for row in changelist.result_list:
            row.causes = causes.shown(causes.of_hold(row), request)
        return changelist

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        hold = self.get_object(request, object_id)
        seen = {}
        if hold is not None:
            legs = hold.transfers.select_related("asset", "debit", "credit").order_by("pk")[:LEGS]
            seen["book"] = {
                "causes": causes.shown(causes.of_hold(hold), request),
                "legs": [(leg, leg.asset.show(leg.amount)) for leg in legs],
                "is_hold": True,
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **seen})
