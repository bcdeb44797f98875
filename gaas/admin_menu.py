"""The admin's menu: by what people do there, the daily work first. Read by settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse_lazy

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
            ("To review", "rule_folder", "payments.review"),
            ("Charges", "receipt_long", "payments.charge"),
            ("Balances", "account_balance", "ledger.balance"),
            ("Transfers", "swap_horiz", "ledger.transfer"),
            ("Holds", "lock_clock", "ledger.hold"),
            ("Caps", "speed", "accounts.caprule"),
            ("Caps by period", "date_range", "ledger.cap"),
            ("Approval thresholds", "rule", "accounts.approvalthreshold"),
            ("Budget alerts", "notifications", "accounts.budgetalert"),
            ("Assets", "paid", "ledger.asset"),
        ],
    ),
    (
        "Record",
        [
            ("Audit events", "history", "audit.auditevent"),
            ("Mail", "mail", "outbox.mail"),
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
                    "link": reverse_lazy(f"admin:{model.replace('.', '_')}_changelist"),
                    "permission": _may_view(model),
                }
                for name, icon, model in entries
            ],
        }
        for title, entries in MENU
    ]


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    def may(request: HttpRequest) -> bool:
        # The admin of the model decides, as it does for the page itself.
        return admin.site.get_model_admin(apps.get_model(model)).has_view_permission(request)

    return may
