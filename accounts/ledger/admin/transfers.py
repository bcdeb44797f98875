from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts.ledger import causes
from accounts.ledger.admin.filters import MadeFilter
from accounts.ledger.models import Transfer
from gaas.lib.admin import KeysetAdmin

# A capture has a leg for each owner of a GPU and one for the fee; more than this are looked at by their own pages.
LEGS = 50


@admin.register(Transfer)
class TransferAdmin(KeysetAdmin):
    """Show movements, each with what caused it and what else was moved with it."""

    when_empty = "Transfers appear when hours are granted, charged or given back."
    list_display = ("created_at", "kind", "amount_shown", "debit", "credit", "cause", "key")
    list_filter = (MadeFilter,)
    list_select_related = ("asset", "debit", "credit", "hold")
    search_fields = ("key__startswith", "ref__exact")
    search_help_text = "Beginning of a key, a whole reference, or an id"
    change_form_outer_after_template = "admin/ledger/of_transfer.html"
    fields = ("key", "kind", "amount_shown", "debit", "credit", "hold", "reverses", "group", "ref", "actor", "memo")
    fields += ("effective_at", "created_at")
    readonly_fields = ("amount_shown", "created_at")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        for row in changelist.result_list:
            row.causes = causes.shown(causes.of_transfer(row), request)
        return changelist

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        seen = {} if row is None else {"book": _book_of(row, request)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **seen})

    @admin.display(description="Amount")
    def amount_shown(self, transfer: Transfer) -> str:
        return transfer.asset.show(transfer.amount)

    @display(description="Cause")
    def cause(self, transfer: Transfer) -> SafeString | str:
        return getattr(transfer, "causes", "")


def _book_of(row: Transfer, request: HttpRequest) -> dict[str, Any]:
    """Give what caused a transfer, who asked, the other legs of its group, its hold, and what took it back."""
    return {
        "causes": causes.shown(causes.of_transfer(row), request),
        "actor": causes.shown(causes.of_actor(row.actor), request) if row.actor else "the platform itself",
        "hold": row.hold,
        "open": row.hold and row.asset.show(row.hold.open_amount),
        "legs": [(leg, leg.asset.show(leg.amount)) for leg in Transfer.objects.legs_beside(row)[:LEGS]],
        "reversed_by": Transfer.objects.filter(reverses=row).first(),
    }
