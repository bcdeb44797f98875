"""Uploads, and what tasks left."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status
from rest_framework.generics import GenericAPIView, get_object_or_404
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Account
from gaas.lib import clock
from gaas.lib.errors import NotFound
from gaas.lib.rest.bytes import Octets, StreamParser, body_of, download, file_answer, number_of
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields, refuse_unknown
from gaas.outbox.api import Idempotent
from tasks import archive, services
from tasks.api import file_serializers as bodies
from tasks.api.filters import ArtifactFilter, UploadFilter
from tasks.models import Artifact, StoredFile, Task, Upload
from tasks.services.files import FileGap, WrongHash
from tasks.services.reading import read_bytes_of

MAX_BATCH_BYTES = 64 * 1024 * 1024
BYTES = {(200, Octets.media_type): OpenApiTypes.BINARY, (206, Octets.media_type): OpenApiTypes.BINARY}
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="Such as bytes=0-1023.")


class UploadViewSet(Idempotent, ETagMixin, SparseFields, mixins.ListModelMixin, GenericViewSet):
    """Files for tasks: begin one here, PUT its bytes to `content/`, then POST `complete/`."""

    queryset = Upload.objects.none()
    key_scope = "tasks"
    lookup_value_regex = "[0-9a-f-]{36}"
    filterset_class = UploadFilter
    serializer_class = bodies.UploadOutput

    def get_queryset(self) -> Any:
        return Upload.objects.visible_to(self.request.user).select_related("file", "uploaded_by", "account")

    def retrieve(self, request: Request, version: str, pk: str) -> Response:
        """Show an upload; `offset` says how many of its bytes are here."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=bodies.UploadInput, responses={201: bodies.UploadOutput})
    def create(self, request: Request, version: str) -> Response:
        """Begin an upload: its whole size counts on the account's storage from now on."""
        data = self.body(bodies.UploadInput)
        pk = data.pop("account", None)
        account = None if pk is None else Account.objects.visible_to(request.user).named(pk)
        upload = services.create_upload(account=account, by=request.user, now=clock.now(), **data)
        return Response(bodies.UploadOutput(upload).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, pk: str) -> Response:
        """Delete an upload and give its room back; not while a live task needs it."""
        services.delete_upload(self.get_object(), by=request.user, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class OneUpload(Idempotent, GenericAPIView):
    """What is done with one upload besides looking at it."""

    queryset = Upload.objects.none()
    key_scope = "tasks"
    filter_backends = ()
    pagination_class = None

    def upload(self, pk: UUID) -> Upload:
        seen = Upload.objects.visible_to(self.request.user).select_related("file", "account", "uploaded_by")
        return get_object_or_404(seen, pk=pk)


class UploadContentView(OneUpload):
    """The bytes of one upload."""

    parser_classes = (StreamParser,)
    renderer_classes = (*OneUpload.renderer_classes, Octets)
    max_body_bytes = MAX_BATCH_BYTES
    query_params = ("offset",)
    also_refuses = ("416", "422", "503")
    serializer_class = bodies.SentOutput

    @extend_schema(
        operation_id="uploads_content_send",
        parameters=[OpenApiParameter("offset", OpenApiTypes.INT64, description="Byte to go on from; 0 at first.")],
        request={Octets.media_type: OpenApiTypes.BINARY},
        responses=bodies.SentOutput,
    )
    def put(self, request: Request, version: str, pk: UUID) -> Response:
        """Send up to 64 MiB at an offset. What is here already is skipped; a hole is 416 with the wanted `offset`."""
        offset, body = number_of(request, "offset", "0"), body_of(request)
        try:
            here = services.send_upload(
                self.upload(pk), offset=offset, stream=body.stream, length=body.length, by=request.user
            )
        except FileGap as gap:
            answer: Response = self.handle_exception(gap)
            answer.data["offset"] = gap.wanted
            return answer
        return Response({"offset": here})

    @extend_schema(operation_id="uploads_content", parameters=[RANGE], responses=BYTES)
    def get(self, request: Request, version: str, pk: UUID) -> HttpResponseBase:
        """Download an upload that is whole; by Range, too."""
        refuse_unknown(request.query_params, set())
        upload = self.upload(pk)
        read_bytes_of(upload, account=upload.account, by=request.user, now=clock.now())
        if not upload.file.is_whole:
            raise NotFound("This upload is not whole yet.")
        return _answer(request, upload.name, upload.file)


class UploadCompleteView(OneUpload):
    """The end of one upload."""

    serializer_class = bodies.CompleteInput
    digest: str | None = None

    def ahead(self, request: Request, still: Callable[[], None], version: str, pk: UUID) -> None:
        """Read all the bytes before the key's transaction is open: many gigabytes take minutes.

        Not for a body that is refused whatever they are.
        """
        self.body()
        self.digest = services.digest_upload(self.upload(pk), by=request.user, still=still)

    @extend_schema(operation_id="uploads_complete", request=bodies.CompleteInput, responses=bodies.UploadOutput)
    def post(self, request: Request, version: str, pk: UUID) -> Response:
        """State that all bytes were sent; they are held against the SHA-256 and are for tasks from now on."""
        sha256 = self.body()["sha256"]
        upload = self.upload(pk)
        try:
            services.complete_upload(upload, sha256=sha256, digest=self.digest, by=request.user, now=clock.now())
        except WrongHash as wrong:
            # Answered, not raised: what was thrown away is to stay so in the transaction of a key, too.
            return self.handle_exception(wrong)
        return Response(bodies.UploadOutput(upload).data)


class OfTask(GenericAPIView):
    """Rows of the task that the path names."""

    queryset = Artifact.objects.none()
    key_scope = "tasks"

    @cached_property
    def task(self) -> Task:
        return get_object_or_404(
            Task.objects.visible_to(self.request.user).select_related("account").only("account", "title"),
            pk=self.kwargs["task"],
        )

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False) or "task" not in self.kwargs:
            return self.queryset
        return Artifact.objects.kept().filter(task=self.task).select_related("file")


class ArtifactViewSet(
    Idempotent, ETagMixin, SparseFields, OfTask, mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet
):
    """What the attempts of a task left in $GAAS_OUTPUT, the newest first."""

    filterset_class = ArtifactFilter
    serializer_class = bodies.ArtifactOutput


class ArtifactContentView(OfTask):
    """The bytes of one result."""

    renderer_classes = (*OfTask.renderer_classes, Octets)
    also_refuses = ("416", "503")

    @extend_schema(operation_id="tasks_artifacts_content", parameters=[RANGE], responses=BYTES)
    def get(self, request: Request, version: str, task: UUID, pk: UUID) -> HttpResponseBase:
        """Download a result; by Range, too."""
        refuse_unknown(request.query_params, set())
        artifact = get_object_or_404(self.get_queryset(), pk=pk)
        read_bytes_of(artifact, account=self.task.account, by=request.user, now=clock.now())
        return _answer(request, artifact.name, artifact.file)


class Zip(BaseRenderer):
    """Let clients ask for an archive as one."""

    media_type = "application/zip"
    format = "zip"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> Any:
        return data


class ArchiveView(OfTask):
    """All results of one attempt in one file."""

    renderer_classes = (*OfTask.renderer_classes, Zip)

    @extend_schema(
        operation_id="tasks_artifacts_archive",
        parameters=[OpenApiParameter("attempt", OpenApiTypes.UUID, description="Default: the last that left any.")],
        responses={(200, Zip.media_type): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, version: str, task: UUID) -> HttpResponseBase:
        """Download all results of an attempt as a ZIP that is made on the way."""
        refuse_unknown(request.query_params, {"attempt"})
        rows = self.get_queryset()
        wanted = _attempt(request) or rows.order_by("-attempt__epoch").values("attempt")[:1]
        rows = list(rows.filter(attempt=wanted).order_by("name"))
        if not rows:
            raise NotFound("There are no results of such an attempt.", attr="attempt")
        read_bytes_of(self.task, account=self.task.account, by=request.user, now=clock.now())
        blocks = archive.stream(
            (row.name, row.created_at, row.file.size, lambda file=row.file: services.read_file(file)) for row in rows
        )
        answer = StreamingHttpResponse(blocks, content_type=Zip.media_type)
        return download(answer, f"{self.task.pk}.zip")


def _attempt(request: Request) -> UUID | None:
    text = request.query_params.get("attempt")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise NotFound("There are no results of such an attempt.", attr="attempt") from None


def _answer(request: Request, name: str, file: StoredFile) -> HttpResponseBase:
    return file_answer(
        request,
        name=name,
        size=file.size,
        sha256=file.sha256,
        read=lambda start, end: services.read_file(file, start, end),
    )
