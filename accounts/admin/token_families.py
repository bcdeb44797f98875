from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.enums import ActionVariant

from accounts.models import TokenFamily
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.reasons import verb_action


@admin.register(TokenFamily)
class TokenFamilyAdmin(ViewOnlyAdmin):
    """Show who is logged in over the API, and log out."""

    list_display = ("user", "created_at", "rotated_at", "expires_at", "ended_at")
    list_select_related = ("user",)
    search_fields = ("user__email__startswith",)
    search_help_text = "The beginning of an e-mail address in lower case, or an id."
    fields = ("user", "created_at", "rotated_at", "expires_at", "ended_at")
    when_empty = "A log-in appears when somebody asks for a token over the API; sessions in a browser are not listed."
    actions = ("end",)
    actions_detail = ("end",)

    @verb_action(
        description="Log out",
        done="logged out",
        permissions=["end"],
        icon="logout",
        variant=ActionVariant.DANGER,
        applies=lambda family: family.ended_at is None,
    )
    def end(self, request: HttpRequest, family: TokenFamily, data: dict[str, Any]) -> None:
        family.end(by=request.user, now=clock.now())

    def has_end_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_tokenfamily")
