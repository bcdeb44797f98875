from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from accounts.models import ApiKey
from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.reasons import ReasonForm, verb_action


@admin.register(ApiKey)
class ApiKeyAdmin(ViewOnlyAdmin):
    """Show which scripts act for whom, and take a key away. Nobody sees a secret again."""

    list_display = ("prefix", "name", "user", "account", "granted", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("user", "account")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("user__email__startswith", "prefix__startswith")
    search_help_text = "The beginning of an e-mail address in lower case or of a key after gaas_, or an id."
    fields = (
        "prefix",
        "name",
        "user",
        "account",
        "granted",
        "allow_list",
        "caps",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
        "replaced_by",
        "overlap_until",
    )
    when_empty = "A key appears when somebody makes one by POST /api/v1/api-keys/ or the form on that page."
    actions = ("revoke",)
    actions_detail = ("revoke",)

    @verb_action(
        description="Revoke",
        done="revoked",
        form=ReasonForm,
        permissions=["revoke"],
        icon="key_off",
        variant=ActionVariant.DANGER,
        applies=lambda key: key.revoked_at is None,
    )
    def revoke(self, request: HttpRequest, key: ApiKey, data: dict[str, Any]) -> None:
        key.revoke(by=request.user, reason=data["reason"], now=clock.now())

    @display(description="Scopes")
    def granted(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="Caps")
    def caps(self, key: ApiKey) -> str:
        hours = [] if key.cap_gpu_ms is None else [f"{show_hours(key.cap_gpu_ms)} h"]
        money = [] if key.cap_microusd is None else [f"{show_micro(key.cap_microusd)} USD"]
        return f"{' and '.join([*hours, *money])} per {key.cap_period}" if hours or money else ""

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("accounts.change_apikey")
