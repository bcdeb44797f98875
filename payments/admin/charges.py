from __future__ import annotations

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours, show_micro
from payments.models import Charge


@admin.register(Charge)
class ChargeAdmin(ViewOnlyAdmin):
    """Show what was charged for what; settlement writes it."""

    list_display = ("at", "task_link", "funding", "hours", "paid", "fee_part", "owner_gets", "cost_code")
    list_filter = ("funding", "kind")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("at", "task_link"),
                    ("kind", "funding"),
                    ("hours", "price"),
                    ("paid", "cost_code"),
                    ("fee_part", "owner_gets"),
                    "platform_paid",
                )
            },
        ),
        (
            "Whose and where, by id",
            {
                "fields": (
                    ("account_id", "payer_account_id"),
                    ("owner_account_id", "user_id"),
                    ("host_id", "gpu_id"),
                    "attempt_id",
                )
            },
        ),
    )
    readonly_fields = ("task_link", "hours", "price", "paid", "fee_part", "owner_gets", "platform_paid")
    search_fields = ("task_id__exact", "account_id__exact", "owner_account_id__exact", "cost_code__exact")
    search_help_text = "The id of a task or an account, or a cost code."
    when_empty = "Charges appear when the first task that ran has ended."

    @display(description="Task")
    def task_link(self, charge: Charge) -> SafeString:
        # By the name of the page: tasks lie above payments.
        address = reverse("admin:tasks_task_change", args=[charge.task_id])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500 underline" href="{}">{}</a>', address, charge.task_id
        )

    @display(description="Price, USD an hour")
    def price(self, charge: Charge) -> str:
        return show_micro(charge.price_per_hour)

    @display(description="Paid by the platform, USD")
    def platform_paid(self, charge: Charge) -> str:
        return show_micro(charge.from_loss)

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
