"""The admin's menu: by what people do there, the daily work first. Read by settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse, reverse_lazy

# Of each entry what it is called, its icon, and the model whose list it is; after a colon another page of its admin.
MENU: list[tuple[str, list[tuple[str, str, str]]]] = [
    (
        "Work",
        [
            ("Tasks", "task_alt", "tasks.task"),
            ("Attempts", "replay", "tasks.attempt"),
            ("Approval steps", "rule", "tasks.approvalstep"),
            ("Uploads", "upload_file", "tasks.upload"),
        ],
    ),
    ("Fleet", [("Hosts", "dns", "gpus.host"), ("GPUs", "memory", "gpus.gpu")]),
    (
        "People",
        [
            ("Users", "person", "accounts.user"),
            ("Accounts", "account_tree", "accounts.account"),
            ("Invitations", "outgoing_mail", "accounts.invitation"),
            ("Quota requests", "more_time", "accounts.quotarequest"),
            ("Groups", "groups", "auth.group"),
            ("Log-ins", "key", "accounts.tokenfamily"),
            ("API keys", "vpn_key", "accounts.apikey"),
            ("Registry log-ins", "deployed_code", "accounts.registrylogin"),
            ("Wrong log-ins", "lock", "axes.accessattempt"),
        ],
    ),
    (
        "Hours and money",
        [
            ("Payments", "payments", "payments.payment"),
            ("Refunds", "undo", "payments.refund"),
            ("Disputes", "gavel", "payments.dispute"),
            ("Payouts", "outbox", "payments.payout"),
            ("Payout destinations", "location_on", "payments.payoutdestination"),
            ("To review", "rule_folder", "payments.review"),
            ("Contracts", "contract", "payments.contract"),
            ("Charges", "receipt_long", "payments.charge"),
            ("Statements", "summarize", "payments.statement"),
            ("Books by month", "bar_chart", "payments.statement:books"),
            ("Balances", "account_balance", "ledger.balance"),
            ("Transfers", "swap_horiz", "ledger.transfer"),
            ("Holds", "lock_clock", "ledger.hold"),
            ("Caps", "speed", "accounts.caprule"),
            ("Caps by period", "date_range", "ledger.cap"),
            ("Approval thresholds", "rule", "accounts.approvalthreshold"),
            ("Budget alerts", "notifications", "accounts.budgetalert"),
            ("Low marks", "trending_down", "accounts.lowmark"),
            ("Checks of the books", "fact_check", "ledger.checkrun"),
            ("Assets", "paid", "ledger.asset"),
        ],
    ),
    (
        "Record",
        [
            ("Audit events", "history", "audit.auditevent"),
            ("Mail", "mail", "outbox.mail"),
            ("Webhooks", "webhook", "outbox.webhook"),
            ("Deliveries", "outbox", "outbox.webhookdelivery"),
            ("Idempotency keys", "repeat_one", "outbox.idempotencykey"),
        ],
    ),
]


def navigation() -> list[dict[str, Any]]:
    """Give unfold's navigation; an entry is shown to whoever may view its rows."""
    return [
        {
            "title": title,
            "separator": True,
            "items": [
                {
                    "title": name,
                    "icon": icon,
                    "link": reverse_lazy(_view(place)),
                    "permission": _may_view(place.partition(":")[0]),
                    "active": _is_at(place),
                }
                for name, icon, place in entries
            ],
        }
        for title, entries in MENU
    ]


def _view(place: str) -> str:
    model, _, page = place.partition(":")
    return f"admin:{model.replace('.', '_')}_{page or 'changelist'}"


@cache
def _links() -> dict[str, str]:
    return {place: reverse(_view(place)) for _, entries in MENU for _, _, place in entries}


def _is_at(place: str) -> Callable[[HttpRequest], bool]:
    """Tell whether a page belongs to an entry: where it lies below two, to the nearer."""

    def is_here(request: HttpRequest) -> bool:
        above = [other for other, link in _links().items() if request.path.startswith(link)]
        return place == max(above, key=lambda other: len(_links()[other]), default="")

    return is_here


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    def may(request: HttpRequest) -> bool:
        # The admin of the model decides, as it does for the page itself.
        return admin.site.get_model_admin(apps.get_model(model)).has_view_permission(request)

    return may
