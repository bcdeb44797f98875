"""Tickets for the streams of a task, which `live` answers without Django (gaas.streams)."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gaas.lib import tickets
from gaas.lib.rest.filters import refuse_unknown
from tasks.models import Task


class StreamOutput(serializers.Serializer):
    """Where to listen, and until when the address can be used for a new connection."""

    url = serializers.URLField(help_text="Server-sent events; relative where the platform has one address.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class StreamTickets:
    """Add to a view set of tasks the addresses of their streams."""

    @extend_schema(responses=StreamOutput)
    @action(detail=True, url_path="logs/stream", filter_backends=[], pagination_class=None)
    def logs_stream(self, request: Request, version: str, pk: str) -> Response:
        """Give the address of a stream of the log: `log`, `attempt`, `task` and `end` events.

        `Last-Event-ID: <attempt>:<byte>` resumes it; `&tail=N` begins N bytes before the end, `&attempt=` and
        `&offset=` anywhere. Good for a new connection for five minutes.
        """
        return self._ticket(request, pk, "logs")

    @extend_schema(responses=StreamOutput)
    @action(detail=True, url_path="events/stream", filter_backends=[], pagination_class=None)
    def events_stream(self, request: Request, version: str, pk: str) -> Response:
        """Give the address of a stream of what happens to the task: `event`, `attempt`, `task` and `end` events."""
        return self._ticket(request, pk, "events")

    def _visible(self, pk: str) -> Task:
        raise NotImplementedError

    def _ticket(self, request: Request, pk: str, what: str) -> Response:
        refuse_unknown(request.query_params, set())
        task = self._visible(pk)
        ticket = tickets.issue(purpose="stream", subject=f"{task.pk}:{request.user.pk}")
        url = f"{settings.LIVE_URL}/api/live/v1/tasks/{task.pk}/{what}?{urlencode({'ticket': ticket})}"
        answer = Response({"url": url, "expires_in": int(settings.TICKET_SECONDS)})
        answer["Cache-Control"] = "no-store"
        return answer
