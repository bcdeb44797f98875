"""What agents call (gpus/agent/protocol.py). Each view parses, makes one call and answers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gaas.lib import clock
from gaas.lib.rest.parsers import StrictJSONParser
from gpus.agent.protocol import MAX_LOG_BATCH_BYTES
from gpus.api.authentication import HostAuthentication
from tasks import services
from tasks.agent_api.serializers import FinishInput, StartInput, SyncInput
from tasks.services.logs import LogGap


class RawBytes(BaseParser):
    """Take a body as it is."""

    media_type = "application/octet-stream"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> bytes:
        return stream.read(MAX_LOG_BATCH_BYTES + 1)


@extend_schema(exclude=True)
class AgentView(APIView):
    """Let only a host speak, for itself alone."""

    authentication_classes = (HostAuthentication,)
    permission_classes = (IsAuthenticated,)
    parser_classes = (StrictJSONParser,)
    throttle_classes = ()
    max_body_bytes = 4 * 1024 * 1024

    def read(self, serializer: type, request: Request) -> Any:
        body = serializer(data=request.data)
        body.is_valid(raise_exception=True)
        return body


class SyncParser(StrictJSONParser):
    """Leave measurements to the one that drops the bad ones: NaN from a driver costs no host its lease."""

    unchecked = "metrics"


class SyncView(AgentView):
    parser_classes = (SyncParser,)

    def post(self, request: Request, version: str) -> Response:
        body = self.read(SyncInput, request)
        answer = services.sync(host=request.auth, report=body.report(), held=body.held(), now=clock.now())
        return Response(answer.to_wire())


class StartView(AgentView):
    def post(self, request: Request, version: str, attempt_id: UUID) -> Response:
        data = self.read(StartInput, request).validated_data
        limit_ms = services.start(attempt_id=attempt_id, host=request.auth, now=clock.now(), **data)
        return Response({"limit_ms": limit_ms})


class LogsView(AgentView):
    parser_classes = (RawBytes,)

    def post(self, request: Request, version: str, attempt_id: UUID) -> Response:
        epoch, offset = (_number(request, name) for name in ("epoch", "offset"))
        data = request.data if isinstance(request.data, bytes) else b""
        if len(data) > MAX_LOG_BATCH_BYTES:
            raise ValidationError({"": ErrorDetail(f"At most {MAX_LOG_BATCH_BYTES} bytes fit in a batch.", "too_long")})
        try:
            size = services.append_log(
                attempt_id=attempt_id, host=request.auth, epoch=epoch, offset=offset, data=data, now=clock.now()
            )
        except LogGap as gap:
            # The one refusal that also carries the way on as a number, for a program to read.
            answer: Response = self.handle_exception(gap)
            answer.data["offset"] = gap.wanted
            return answer
        return Response({"offset": size})


class FinishView(AgentView):
    def post(self, request: Request, version: str, attempt_id: UUID) -> Response:
        report = self.read(FinishInput, request).report()
        task = services.finish(attempt_id=attempt_id, host=request.auth, report=report, now=clock.now())
        return Response({"task_status": task.status})


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValidationError({name: ErrorDetail("Give a number from 0.", "invalid")})
    return int(text)
