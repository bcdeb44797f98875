"""Who is locked out after wrong log-ins; and nothing else of what the log-in's libraries keep."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest

from accounts.services import lockout
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.reasons import verb_action

# Their own pages would show secrets of second factors and keys of sessions.
for model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken, UserSession):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(AccessAttempt)
class LogInFailureAdmin(ViewOnlyAdmin):
    """Show wrong log-ins by account, address and program; let somebody in again."""

    list_display = ("username", "ip_address", "failures_since_start", "is_locking", "attempt_time")
    search_fields = ("username__startswith", "ip_address__exact")
    search_help_text = "The beginning of an e-mail address in lower case, or a whole address of the net."
    fields = ("username", "ip_address", "failures_since_start", "attempt_time", "user_agent", "path_info")
    when_empty = "A row appears with the first wrong log-in to an account from an address, and goes with a right one."
    actions = ("unlock",)
    actions_detail = ("unlock",)

    @admin.display(description="Locked out", boolean=True)
    def is_locking(self, attempt: AccessAttempt) -> bool:
        is_fresh = attempt.attempt_time > clock.now() - lockout.cool_off()
        return is_fresh and attempt.failures_since_start >= settings.LOG_IN_FAILURES

    @verb_action(description="Unlock", done="unlocked", permissions=["unlock"], icon="lock_open")
    def unlock(self, request: HttpRequest, attempt: AccessAttempt, data: dict[str, Any]) -> None:
        lockout.unlock(attempt=attempt, by=request.user, now=clock.now())

    def has_unlock_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("axes.change_accessattempt")
