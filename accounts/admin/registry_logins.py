from __future__ import annotations

from django.contrib import admin

from accounts.models import RegistryLogin
from gaas.lib.admin import ViewOnlyAdmin


@admin.register(RegistryLogin)
class RegistryLoginAdmin(ViewOnlyAdmin):
    """Show from which registries an account's tasks may pull, and as whom. Nobody sees a password again."""

    list_display = ("server", "username", "account", "updated_at")
    list_select_related = ("account",)
    search_fields = ("server__startswith", "username__startswith")
    search_help_text = "The beginning of a registry's name or of a user name there, or an id."
    fields = ("account", "server", "username", "created_at", "updated_at")
    when_empty = "A log-in appears when a manager of an account keeps one by POST /api/v1/accounts/{id}/registries/."
