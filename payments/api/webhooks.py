"""What providers tell us, authenticated by their signature alone."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gaas.lib import clock
from gaas.lib.errors import NotFound
from gaas.lib.rest.filters import StrictQuery
from payments import services
from payments.providers import PROVIDERS
from payments.providers.stripe import BadSignature, StripeProvider


class Untouched(BaseParser):
    """Leave the body as it came: the signature is over its bytes."""

    media_type = "*/*"

    def parse(self, stream: object, media_type: object = None, parser_context: object = None) -> bytes:
        return stream.read()  # type: ignore[attr-defined]


class StripeWebhookView(StrictQuery, APIView):
    """Store an event and answer at once; what it asks for happens afterwards."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    parser_classes = (Untouched,)
    also_refuses = ("404",)

    @extend_schema(request={"application/json": OpenApiTypes.OBJECT}, responses={200: OpenApiTypes.OBJECT}, auth=[])
    def post(self, request: Request, version: str) -> Response:
        """Take an event of Stripe's."""
        provider = PROVIDERS.get("stripe")
        if not isinstance(provider, StripeProvider) or not provider.webhook_secrets:
            raise NotFound("Stripe is not set up here.")
        event = provider.event(body=request.data or b"", signature=request.headers.get("Stripe-Signature", ""))
        if not isinstance(event.get("id"), str) or not isinstance(event.get("data"), dict):
            raise BadSignature("This is no event of Stripe's.")
        services.keep_event(event=event, now=clock.now())
        return Response({"received": True})
