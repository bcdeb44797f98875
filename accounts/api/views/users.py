"""People, for staff who see to them."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api.filters import UserFilter
from accounts.api.permissions import SeesToUsers
from accounts.api.serializers import PersonSerializer, UserPatchSerializer, UserReasonSerializer
from accounts.models import User
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.outbox.api import Idempotent


class UserViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Everybody, for whoever may view users; oneself, for others. Changing takes the permission to change users.

    Nobody is deleted: balances and history stay. Permissions, addresses and passwords are the admin's.
    """

    queryset = User.objects.none()
    key_scope = "accounts"
    permission_classes = (IsAuthenticated, SeesToUsers)
    lookup_value_regex = "[0-9a-f-]{36}"
    serializer_class = PersonSerializer
    filterset_class = UserFilter

    def get_queryset(self) -> Any:
        factor = Authenticator.objects.filter(user=OuterRef("pk"))
        seen = User.objects.visible_to(self.request.user).annotate(has_second_factor=Exists(factor))
        return seen.select_related("personal_account").prefetch_related("groups")

    @extend_schema(request=UserPatchSerializer, responses=PersonSerializer)
    def partial_update(self, request: Request, version: str, pk: str) -> Response:
        """Correct somebody's name."""
        user, data = self.get_object(), self.body(UserPatchSerializer)
        if "name" in data:
            user.rename(name=data["name"], by=request.user, now=clock.now())
        return self._one(user)

    @extend_schema(request=UserReasonSerializer, responses=PersonSerializer)
    @action(detail=True, methods=["post"], serializer_class=UserReasonSerializer)
    def deactivate(self, request: Request, version: str, pk: str) -> Response:
        """Keep somebody from logging in: tokens, browsers and keys are refused from now on."""
        user, data = self.get_object(), self.body(UserReasonSerializer)
        user.switch_off(by=request.user, reason=data["reason"], now=clock.now())
        return self._one(user)

    @extend_schema(request=UserReasonSerializer, responses=PersonSerializer)
    @action(detail=True, methods=["post"], serializer_class=UserReasonSerializer)
    def reactivate(self, request: Request, version: str, pk: str) -> Response:
        """Let somebody log in again."""
        user, data = self.get_object(), self.body(UserReasonSerializer)
        user.switch_on(by=request.user, reason=data["reason"], now=clock.now())
        return self._one(user)

    def _one(self, user: User) -> Response:
        return Response(PersonSerializer(user).data)
