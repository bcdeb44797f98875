from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from payments.admin import looks
from payments.models import Dispute


@admin.register(Dispute)
class DisputeAdmin(ViewOnlyAdmin):
    """Show payments that a bank took back, and what that left owing."""

    list_display = ("usd", "payment", "state", "reason", "owed", "opened_at", "ended_at")
    list_filter = ("status",)
    list_select_related = ("payment__account",)
    search_fields = ("provider_id__exact",)
    search_help_text = "The provider's id of the dispute in full, or an id."
    fields = (
        ("usd", "payment"),
        ("status", "reason"),
        ("from_the_wallet", "from_the_earnings"),
        ("owed", "provider_id"),
        ("opened_at", "ended_at"),
    )
    readonly_fields = ("usd", "status", "from_the_wallet", "from_the_earnings", "owed")
    when_empty = "No payment was ever contested."

    @display(description="USD")
    def usd(self, dispute: Dispute) -> str:
        return show_micro(dispute.amount)

    @display(description="Status", label=looks.DISPUTE)
    def state(self, dispute: Dispute) -> tuple[str, str]:
        return dispute.status, dispute.get_status_display()

    @display(description="From the wallet, USD")
    def from_the_wallet(self, dispute: Dispute) -> str:
        return show_micro(dispute.from_wallet)

    @display(description="From earnings, USD")
    def from_the_earnings(self, dispute: Dispute) -> str:
        return show_micro(dispute.from_earnings)

    @display(description="Became debt, USD")
    def owed(self, dispute: Dispute) -> str:
        return show_micro(dispute.from_debt)
