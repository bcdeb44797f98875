"""Tickets for the streams of a task, which `live` answers without Django (gaas.streams)."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gaas.lib import clock, tickets
from gaas.lib.rest.filters import refuse_unknown
from tasks.models import Task
from tasks.services.reading import read_log_of
from tasks.services.relays import serving_attempt


class StreamOutput(serializers.Serializer):
    """Where to listen, and until when the address can be used for a new connection."""

    url = serializers.CharField(help_text="Server-sent events; relative where the platform has one address.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class ServiceOutput(serializers.Serializer):
    """Where a task's program answers requests."""

    attempt = serializers.UUIDField()
    url = serializers.CharField(help_text="Put the program's own path behind it.")


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

    @extend_schema(responses=ServiceOutput)
    @action(detail=True, url_path="service", filter_backends=[], pagination_class=None, key_scope="tasks:write")
    def service(self, request: Request, version: str, pk: str) -> Response:
        """Tell where the running program answers: any method on any path below this one, with the same credential."""
        refuse_unknown(request.query_params, set())
        task = self._visible(pk)
        attempt = serving_attempt(task, by=request.user)
        return Response({"attempt": str(attempt.pk), "url": f"{settings.LIVE_URL}/api/v1/tasks/{task.pk}/service/"})

    def _visible(self, pk: str) -> Task:
        raise NotImplementedError

    def _ticket(self, request: Request, pk: str, what: str) -> Response:
        refuse_unknown(request.query_params, set())
        task = self._visible(pk)
        if what == "logs":
            read_log_of(task, by=request.user, now=clock.now())
        # What a key opened ends with the key.
        key = request.user.through
        ticket = tickets.issue(
            purpose="stream", subject=f"{task.pk}:{request.user.pk}" + (f":{key.pk}" if key is not None else "")
        )
        url = f"{settings.LIVE_URL}/api/live/v1/tasks/{task.pk}/{what}?{urlencode({'ticket': ticket})}"
        answer = Response({"url": url, "expires_in": int(settings.TICKET_SECONDS)})
        answer["Cache-Control"] = "no-store"
        return answer
