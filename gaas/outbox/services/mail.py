"""Post letters with the deed that causes them, and hand them over afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F
from django.template.loader import render_to_string

from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.outbox.models import Mail

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
BATCH = 200


def post(*, to: str, subject: str, template: str, context: dict[str, Any], key: str) -> Mail:
    """Store a letter in the caller's transaction and have it sent once that commits.

    `template` is a text template. The same `key` again gives the letter that is stored. Should the message
    to the worker be lost, the sweep finds the row by its due_at.
    """
    mail, is_new = Mail.objects.get_or_create(
        key=key,
        defaults={
            "to": to,
            # A line break in a subject would begin another header.
            "subject": " ".join(subject.split())[:200],
            "body": render_to_string(template, context),
            "due_at": clock.now(),
        },
    )
    if is_new:
        transaction.on_commit(lambda: _hint(mail.pk), robust=True)
    return mail


def deliver(*, mail_id: UUID | str, now: datetime) -> bool:
    """Hand a letter to the mail server; return whether this call did.

    1. Claim it: one conditional UPDATE counts the try and puts the next one off, so of many callers one sends.
    2. Send, outside any transaction.
    3. Note that it went, or why not. A crash between 2 and 3 sends the letter twice, never not at all.
    """
    mail = Mail.objects.due(now=now).filter(pk=mail_id).first()
    if mail is None:
        return False
    claim = Mail.objects.due(now=now).filter(pk=mail.pk, tries=mail.tries)
    if not claim.update(tries=F("tries") + 1, due_at=now + _wait(mail.tries), updated_at=now):
        return False
    try:
        EmailMessage(subject=mail.subject, body=mail.body, to=[mail.to]).send()
    except (OSError, ValueError) as fault:
        # SMTPException is an OSError; ValueError is a header or address that can never be sent.
        Mail.objects.filter(pk=mail.pk).update(last_error=f"{type(fault).__name__}: {fault}"[:500])
        return False
    Mail.objects.filter(pk=mail.pk).update(sent_at=clock.now(), last_error="")
    return True


def resend_due(*, now: datetime) -> None:
    """Send the message again for every letter that is due, whatever became of the first one."""
    for mail_id in Mail.objects.due(now=now).values_list("pk", flat=True)[:BATCH]:
        _hint(mail_id)


def retry(*, mail: Mail, now: datetime) -> None:
    """Try a letter again now, with all its tries before it. Raises Conflict for one that is sent."""
    with transaction.atomic():
        if not Mail.objects.unsent().filter(pk=mail.pk).update(tries=0, due_at=now, updated_at=now):
            raise Conflict("This letter is sent; post a new one instead.")
        transaction.on_commit(lambda: _hint(mail.pk), robust=True)


def _wait(tries: int) -> timedelta:
    return min(FIRST_WAIT * 4**tries, LONGEST_WAIT)


def _hint(mail_id: UUID) -> None:
    from gaas.outbox.actors import send_mail  # it imports this package

    send_mail.send(mail_id=str(mail_id))
