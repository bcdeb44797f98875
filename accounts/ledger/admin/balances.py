from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from accounts.ledger import causes
from accounts.ledger.admin.filters import FrozenFilter, KindFilter
from accounts.ledger.models import Asset, Balance, BalanceSnapshot, Transfer, TransferSeal
from gaas.lib.admin import KeysetAdmin, ViewOnlyAdmin

SHOWN = 50


@admin.register(Asset)
class AssetAdmin(ViewOnlyAdmin):
    list_display = ("code", "kind", "scale")
    ordering = ("pk",)


@admin.register(Balance)
class BalanceAdmin(KeysetAdmin):
    """Show what an owner has, and on its page every transfer into it or out of it with what caused each."""

    when_empty = "Balances appear with the first account."
    list_display = ("owner_key", "kind", "asset_id", "posted_shown", "held_shown", "available_shown", "state")
    list_filter = (KindFilter, FrozenFilter)
    list_select_related = ("asset",)
    list_per_page = SHOWN
    search_fields = ("owner_key__exact",)
    search_help_text = "Owner key (acct:…, sys:…) or id, in full"
    change_form_outer_after_template = "admin/ledger/of_balance.html"
    fields = (
        ("owner_key", "kind"),
        ("asset", "state"),
        ("posted_shown", "total_shown"),
        ("held_shown", "available_shown"),
        ("frozen_in", "frozen_out"),
        ("created_at", "closed_at"),
    )
    readonly_fields = ("posted_shown", "total_shown", "held_shown", "available_shown", "state", "created_at")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        balance = self.get_object(request, object_id)
        seen = {} if balance is None else {"book": _book_of(balance, request)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **seen})

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


def _book_of(balance: Balance, request: HttpRequest) -> dict[str, Any]:
    """Give a page of a balance's transfers, the balances beside it and where its holds are."""
    direction = request.GET.get("direction", "")
    direction = direction if direction in ("in", "out") else ""
    page = Transfer.objects.select_related("debit", "credit", "hold").page_of(
        balance.pk,
        size=SHOWN,
        before=_id(request.GET, "before"),
        after=_id(request.GET, "after"),
        direction=direction,
    )
    asset, kept = balance.asset, {"direction": direction} if direction else {}
    lines = [
        {
            "transfer": row,
            "came": row.credit_id == balance.pk,
            "amount": ("+" if row.credit_id == balance.pk else "−") + asset.show(row.amount),
            "other": row.debit if row.credit_id == balance.pk else row.credit,
            "causes": causes.shown(causes.of_transfer(row), request),
        }
        for row in page.rows
    ]
    pages = {
        "older": page.older and f"?{urlencode({**kept, 'before': page.older})}",
        "newer": page.newer and f"?{urlencode({**kept, 'after': page.newer})}",
        "newest": f"?{urlencode(kept)}",
        "is_newest": not (page.newer or "before" in request.GET or "after" in request.GET),
    }
    beside = Balance.objects.filter(owner_key=balance.owner_key).exclude(pk=balance.pk).select_related("asset")
    return {
        "lines": lines,
        "pages": pages,
        "direction": direction,
        "owner": causes.linked(balance.owner_key, request),
        "beside": beside.order_by("kind"),
        "holds": f"{reverse('admin:ledger_hold_changelist')}?{urlencode({'balance__id__exact': balance.pk})}",
    }


def _id(told: QueryDict, name: str) -> UUID | None:
    """Read where a page goes on; what is no id begins with the newest."""
    try:
        return UUID(told[name]) if told.get(name) else None
    except ValueError:
        return None
