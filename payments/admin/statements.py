from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from gaas.lib import clock
from gaas.lib.admin import ReadOnlyInline, ViewOnlyAdmin
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.bars import Bars
from payments.models import Statement, StatementBalance
from payments.services.books import BooksMonth, books_by_month
from payments.statement_rows import owner_facts, shown

# What the page of the books draws: the title, and of each month the value.
_DRAWN = (
    ("Money that came in, USD", "came_in"),
    ("Fees, USD", "fees"),
    ("Owed to payers and owners at the end, USD", "owed"),
)


class BalanceInline(ReadOnlyInline):
    model = StatementBalance
    fields = ("name_shown", "opening_shown", "came_shown", "went_shown", "closing_shown", "held_shown")
    readonly_fields = fields
    verbose_name_plural = "Balances"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).order_by("asset_id", "kind")

    @display(description="Balance")
    def name_shown(self, row: StatementBalance) -> str:
        return f"{row.name}, {row.unit}"

    @display(description="Opening")
    def opening_shown(self, row: StatementBalance) -> str:
        return shown(row.opening, row.asset_id)

    @display(description="Came in")
    def came_shown(self, row: StatementBalance) -> str:
        return shown(row.came, row.asset_id)

    @display(description="Went out")
    def went_shown(self, row: StatementBalance) -> str:
        return shown(row.went, row.asset_id)

    @display(description="Closing")
    def closing_shown(self, row: StatementBalance) -> str:
        return shown(row.closing, row.asset_id)

    @display(description="Of it held")
    def held_shown(self, row: StatementBalance) -> str:
        return "—" if row.held is None else shown(row.held, row.asset_id)


@admin.register(Statement)
class StatementAdmin(ViewOnlyAdmin):
    """Show the statements of ended months, and the platform's books by month."""

    list_display = ("month_shown", "kind", "account", "files", "created_at")
    list_filter = ("kind",)
    list_select_related = ("account",)
    search_fields = ("account__id__exact", "account__name__startswith")
    search_help_text = "The id of an account, or the beginning of its name."
    inlines = (BalanceInline,)
    fields = (("month_shown", "kind"), ("account", "files"), "sold", "created_at")
    readonly_fields = ("month_shown", "files", "sold")
    when_empty = "Statements are made when a month has ended in which something moved."
    change_list_template = "admin/payments/statements.html"

    def get_urls(self) -> list[Any]:
        books = path("books/", self.admin_site.admin_view(self.books), name="payments_statement_books")
        return [books, *super().get_urls()]

    def books(self, request: HttpRequest) -> HttpResponse:
        """Draw income, fees and what is owed, month by month, beside a table of the exact numbers."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        months = books_by_month(now=clock.now())
        charts = [(title, Bars(title, [_bar(month, name) for month in months]).svg()) for title, name in _DRAWN]
        context = {
            **self.admin_site.each_context(request),
            "title": "Books by month",
            "charts": charts,
            "months": [_row(month) for month in months],
        }
        return render(request, "admin/payments/books.html", context)

    @display(description="Month")
    def month_shown(self, statement: Statement) -> str:
        return f"{statement.month:%B %Y}"

    @display(description="As a file")
    def files(self, statement: Statement) -> SafeString:
        links = (
            (reverse(f"statement-{form}", kwargs={"version": "v1", "pk": statement.pk}), form.upper())
            for form in ("pdf", "csv")
        )
        link = '<a class="text-primary-600 dark:text-primary-500 underline" href="{}">{}</a>'
        return format_html(f"{link} {link}", *(part for pair in links for part in pair))

    @display(description="Charges on its GPUs")
    def sold(self, statement: Statement) -> str:
        return "; ".join(f"{fact.name}: {fact.value} {fact.unit}" for fact in owner_facts(statement)) or "—"


def _bar(month: BooksMonth, name: str) -> tuple[str, int, str]:
    value = getattr(month, name)
    return f"{month.month:%b %Y}", value, f"{show_micro(value)} USD"


def _row(month: BooksMonth) -> dict[str, Any]:
    names = ("came_in", "went_out", "fees", "losses", "owed_to_payers", "owed_to_owners", "suspense")
    return {
        "month": month.month,
        "is_over": month.is_over,
        "money": [show_micro(getattr(month, name)) for name in names],
        "used": show_hours(month.used_ms),
    }
