"""Files between an agent and the platform, each call fenced like any other of an attempt."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from gaas.lib import clock
from gaas.lib.errors import NotFound
from gaas.lib.rest.bytes import Octets, StreamParser, body_of, file_answer, number_of
from gpus.agent.protocol import MAX_FILE_BATCH_BYTES
from tasks import services
from tasks.agent_api.serializers import ArtifactQuery, CheckpointInput
from tasks.agent_api.views import AgentView
from tasks.services.files import FileGap


class FileView(AgentView):
    renderer_classes = (Octets, *AgentView.renderer_classes)

    def get(self, request: Request, version: str, attempt_id: UUID, file_id: UUID) -> HttpResponseBase:
        file = services.file_for(
            attempt_id=attempt_id, host=request.auth, epoch=number_of(request, "epoch"), file_id=file_id
        )
        if file is None:
            raise NotFound("This attempt is to have no such file.")
        return file_answer(
            request,
            name=str(file.pk),
            size=file.size,
            sha256=file.sha256,
            read=lambda start, end: services.read_file(file, start, end),
        )


class ArtifactsView(AgentView):
    parser_classes = (StreamParser,)
    max_body_bytes = MAX_FILE_BATCH_BYTES

    def post(self, request: Request, version: str, attempt_id: UUID) -> Response:
        query: Any = ArtifactQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data, body = query.validated_data, body_of(request)
        try:
            offset, is_whole = services.put_artifact(
                attempt_id=attempt_id,
                host=request.auth,
                epoch=int(data["epoch"]),
                kind=data["kind"],
                named=query.named(),
                offset=int(data["offset"]),
                stream=body.stream,
                length=body.length,
                now=clock.now(),
            )
        except FileGap as gap:
            answer: Response = self.handle_exception(gap)
            answer.data["offset"] = gap.wanted
            return answer
        return Response({"offset": offset, "is_whole": is_whole})


class CheckpointView(AgentView):
    def post(self, request: Request, version: str, attempt_id: UUID) -> Response:
        body = self.read(CheckpointInput, request)
        kept = services.keep_checkpoint(
            attempt_id=attempt_id,
            host=request.auth,
            epoch=body.validated_data["epoch"],
            listed=body.listed(),
            now=clock.now(),
        )
        return Response({"kept": kept})
