"""Signed tickets: who may wait or stream, checked without a database."""

from __future__ import annotations

from django.conf import settings
from django.core import signing


def issue(*, purpose: str, subject: str) -> str:
    """Sign `subject` for one purpose; good for TICKET_SECONDS."""
    return signing.TimestampSigner(salt=f"gaas.ticket.{purpose}").sign(subject)


def read(*, purpose: str, ticket: str) -> str | None:
    """Give back the subject, or None for a ticket that is forged, expired or for another purpose."""
    try:
        return signing.TimestampSigner(salt=f"gaas.ticket.{purpose}").unsign(ticket, max_age=settings.TICKET_SECONDS)
    except signing.BadSignature:
        return None
