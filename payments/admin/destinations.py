from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from gaas.lib.admin import ReadOnlyInline, ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from payments.models import Payout, PayoutDestination


class PayoutInline(ReadOnlyInline):
    model = Payout
    fields = ("usd", "status", "requested_by", "created_at", "paid_at")
    readonly_fields = fields
    verbose_name_plural = "Payouts there"
    show_change_link = True

    @display(description="USD")
    def usd(self, payout: Payout) -> str:
        return show_micro(payout.amount)


@admin.register(PayoutDestination)
class PayoutDestinationAdmin(ViewOnlyAdmin):
    """Show where earnings may be sent, and how that changed. Owners change it; staff who pay see it whole."""

    list_display = ("account", "kind", "shown_there", "label", "usable_at", "retired_at", "created_by", "created_at")
    list_filter = ("kind",)
    list_select_related = ("account", "created_by")
    search_fields = ("account__name__startswith",)
    search_help_text = "The beginning of the account's name, or an id."
    inlines = (PayoutInline,)
    when_empty = "Destinations appear when an owner says where earnings are to be sent."

    @display(description="Where")
    def shown_there(self, destination: PayoutDestination) -> str:
        return destination.shown

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Whoever neither agrees to payouts nor sends them needs no more than to tell one from another.
        needs = request.user.has_perm("payments.send_payout") or request.user.has_perm("payments.decide_payout")
        return (
            ("account", "kind"),
            ("detail" if needs else "shown_there", "label"),
            ("usable_at", "replaces"),
            ("created_by", "created_at"),
            ("retired_by", "retired_at"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for row in self.get_fields(request, obj) for name in row]
