from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours, show_micro
from payments.models import Charge


@admin.register(Charge)
class ChargeAdmin(ViewOnlyAdmin):
    """Show what was charged for what; settlement writes it."""

    list_display = ("at", "task_id", "kind", "funding", "hours", "paid", "fee_part", "owner_gets", "cost_code")
    list_filter = ("funding", "kind")
    search_fields = ("task_id__exact", "account_id__exact", "owner_account_id__exact", "cost_code__exact")
    search_help_text = "The id of a task or an account, or a cost code."
    when_empty = "Charges appear when the first task that ran has ended."

    @display(description="GPU-hours")
    def hours(self, charge: Charge) -> str:
        return show_hours(charge.gpu_ms)

    @display(description="Charge, USD")
    def paid(self, charge: Charge) -> str:
        return show_micro(charge.charge)

    @display(description="Fee, USD")
    def fee_part(self, charge: Charge) -> str:
        return show_micro(charge.fee)

    @display(description="Owner's part, USD")
    def owner_gets(self, charge: Charge) -> str:
        return show_micro(charge.owner_part)
