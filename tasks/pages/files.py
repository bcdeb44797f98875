"""The page of an account's files: what is kept, what it takes, and sending one from a browser."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse

from accounts.choices import Role
from accounts.pages.of_account import OfAccount
from accounts.services import storage_of
from gaas.lib import clock
from gaas.lib.amounts import show_bytes
from gaas.lib.errors import DomainError
from gaas.lib.pages.board import VerbForm, after
from tasks import services
from tasks.models import Upload

ROWS = 25
MIB = 1024 * 1024
# A form cannot be gone on with where it broke off: what is larger goes over the API, in parts.
MOST_MIB = 64


class SendFileForm(VerbForm):
    verb, button = "send_file", "Send it"
    attrs = {"name": "file", "size": "file"}

    file = forms.FileField(
        label="File",
        allow_empty_file=True,
        max_length=255,
        help_text=f"Up to {MOST_MIB} MiB; larger ones over the API.",
    )


class DeleteUploadForm(VerbForm):
    verb, button = "delete_upload", "Delete"


class Files(OfAccount):
    """List what people sent for tasks of an account; its members send more and delete their own."""

    template_name = "tasks/files.html"
    kinds = (SendFileForm, DeleteUploadForm)
    # With what a form adds around its file.
    max_body_bytes = MOST_MIB * MIB + 64 * 1024

    def do_send_file(self, form: SendFileForm) -> HttpResponse:
        sent, by = form.cleaned_data["file"], self.request.user
        upload = services.create_upload(name=sent.name, size=sent.size, account=self.account, by=by, now=clock.now())
        try:
            services.send_upload(upload, offset=0, stream=sent, length=sent.size, by=by)
            services.complete_upload(upload, sha256="", by=by, now=clock.now())
        except DomainError:
            services.delete_upload(upload, by=by, now=clock.now())  # its rest would never come
            raise
        return self.done(f"{upload.name} is here, {show_bytes(sent.size)}. A task is given it by its id.")

    def do_delete_upload(self, form: DeleteUploadForm) -> HttpResponse:
        upload = self.row(form, self._uploads())
        services.delete_upload(upload, by=self.request.user, now=clock.now())
        return self.done(f"{upload.name} is deleted.")

    def _uploads(self) -> Any:
        seen = Upload.objects.visible_to(self.request.user).filter(account=self.account)
        return seen.select_related("file", "uploaded_by", "account")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        uploads, older = after(self._uploads(), self.request.GET.get("after"), ROWS)
        may_all = self.request.user.has_perm("tasks.delete_upload") or self.may_manage
        for upload in uploads:
            if may_all or (self.may_send and upload.uploaded_by_id == self.request.user.pk):
                upload.form = self.form(DeleteUploadForm, upload.pk)
        return super().get_context_data(
            uploads=uploads,
            older=older,
            storage=storage_of(self.account),
            send=self.form(SendFileForm) if self.may_send else None,
            **kwargs,
        )

    @property
    def may_send(self) -> bool:
        return self.role is not None and self.role >= Role.MEMBER and self.account.closed_at is None
