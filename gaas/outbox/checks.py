"""System checks of this app's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Error, register

from gaas.lib.net.addresses import parse_networks


@register()
def check_allowed_networks(**_: Any) -> list[Error]:
    try:
        parse_networks(settings.WEBHOOK_ALLOWED_NETWORKS)
    except ValueError as problem:
        return [
            Error(
                f"WEBHOOK_ALLOWED_NETWORKS names what is no network: {problem}",
                hint="Separate networks by commas, as in 10.20.0.0/16,fd12:3456::/32.",
                id="outbox.E001",
            )
        ]
    return []


@register()
def check_ca_file(**_: Any) -> list[Error]:
    if not settings.WEBHOOK_CA_FILE or Path(settings.WEBHOOK_CA_FILE).is_file():
        return []
    return [
        Error(
            "WEBHOOK_CA_FILE names a file that is not there.",
            hint="Name one with the certificates of your authorities in PEM, or leave it out.",
            id="outbox.E002",
        )
    ]


@register()
def check_senders(**_: Any) -> list[Error]:
    if settings.WEBHOOK_SENDERS >= 1 and settings.WEBHOOK_SECONDS > 0:
        return []
    return [
        Error(
            "Nothing is ever sent with a WEBHOOK_SENDERS below 1 or without WEBHOOK_SECONDS.",
            hint="Leave both out for two senders and ten seconds.",
            id="outbox.E003",
        )
    ]
