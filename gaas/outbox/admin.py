from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.reasons import verb_action
from gaas.outbox import services
from gaas.outbox.models import IdempotencyKey, Mail


@admin.register(Mail)
class MailAdmin(ViewOnlyAdmin):
    """Show what was posted. The text stays unseen: letters may carry links that let somebody in."""

    list_display = ("created_at", "to", "subject", "sent_at", "tries", "due_at", "last_error")
    list_filter = (("sent_at", admin.EmptyFieldListFilter),)
    search_fields = ("to__startswith", "key__startswith")
    search_help_text = "The beginning of an e-mail address or of a key, or an id."
    fields = ("to", "subject", "key", "created_at", "due_at", "sent_at", "tries", "last_error")
    when_empty = "Letters appear when people register, and when something that concerns them is decided."
    actions = ("retry",)
    actions_detail = ("retry",)

    @verb_action(
        description="Send again",
        done="to be sent again",
        permissions=["retry"],
        icon="forward_to_inbox",
        applies=lambda mail: mail.sent_at is None,
    )
    def retry(self, request: HttpRequest, mail: Mail, data: dict[str, Any]) -> None:
        services.retry(mail=mail, now=clock.now())

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("outbox.change_mail")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ViewOnlyAdmin):
    """Show which calls came with a key and what became of them. Bodies stay unseen: they are their callers'."""

    list_display = ("created_at", "scope", "key", "method", "route", "state", "status", "expires_at")
    list_filter = ("state",)
    search_fields = ("key__startswith", "scope__exact")
    search_help_text = "The beginning of a key, a caller (user:<id>), or an id."
    fields = (
        "scope",
        "key",
        "method",
        "route",
        "state",
        "status",
        "is_secret",
        "locked_until",
        "created_at",
        "expires_at",
    )
    when_empty = "Keys appear with the first POST that carries an Idempotency-Key."
