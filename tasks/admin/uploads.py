"""Uploads: what people keep for their tasks. The bytes are for their account; here is that they are there."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_bytes
from gaas.lib.reasons import verb_action
from tasks import services
from tasks.admin import looks
from tasks.models import Upload


@admin.register(Upload)
class UploadAdmin(ViewOnlyAdmin):
    """Show uploads; who keeps too much, or something that may not be kept, loses it by Delete."""

    list_display = ("name", "account", "uploaded_by", "state", "size", "expires")
    list_filter = ("file__status",)
    list_select_related = ("account", "uploaded_by", "file")
    search_fields = ("name__startswith", "uploaded_by__email__startswith")
    search_help_text = "The beginning of a name or of an e-mail address, or an id."
    fields = ("name", "account", "uploaded_by", "state", "size", "here", "sha256", "created_at", "expires")
    readonly_fields = fields
    actions = ("remove",)
    actions_detail = ("remove",)
    when_empty = "Uploads appear when somebody sends a file for a task: POST /api/v1/uploads/."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upload]:
        return super().get_queryset(request).select_related("account", "uploaded_by", "file")

    @verb_action(
        description="Delete",
        done="deleted",
        permissions=["remove"],
        icon="delete",
        variant=ActionVariant.DANGER,
        applies=lambda upload: upload.file.status != "REMOVED",
    )
    def remove(self, request: HttpRequest, upload: Upload, data: dict[str, Any]) -> None:
        services.delete_upload(upload, by=request.user, now=clock.now())

    def has_remove_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("tasks.delete_upload"))

    @display(description="Status", label=looks.FILE_LABELS)
    def state(self, upload: Upload) -> tuple[str, str]:
        return upload.file.status, upload.file.get_status_display()

    @display(description="Size")
    def size(self, upload: Upload) -> str:
        return show_bytes(upload.file.size)

    @display(description="Of it here")
    def here(self, upload: Upload) -> str:
        return show_bytes(upload.file.received)

    @display(description="SHA-256")
    def sha256(self, upload: Upload) -> str:
        return upload.file.sha256 or "—"

    @display(description="Kept until")
    def expires(self, upload: Upload) -> Any:
        return upload.file.due_at
