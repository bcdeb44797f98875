"""What stands under one account: its members, invitations, caps, thresholds and low marks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import services
from accounts.api import family_serializers as bodies
from accounts.api.serializers import AccountSerializer
from accounts.api.views.accounts import described
from accounts.choices import CapPeriod, Role
from accounts.models import Account, ApprovalThreshold, CapRule, Invitation, LowMark, Membership, RegistryLogin
from gaas.lib import clock
from gaas.lib.rest.throttles import ScopedThrottle, UserThrottle
from gaas.outbox.api import Idempotent


class OfAccount(Idempotent, ListModelMixin, GenericViewSet):
    """Rows of the account that the path names: for its members, and for staff who may view such rows."""

    key_scope = "accounts"
    filterset_class = None

    @cached_property
    def account(self) -> Account:
        seen = Account.objects.visible_to(self.request.user).select_related("parent")
        account = get_object_or_404(seen, pk=self.kwargs["account"])
        meta = self.queryset.model._meta
        is_clerk = self.request.user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
        if not is_clerk and account.role_of(self.request.user) is None:
            raise PermissionDenied(f"Seeing this takes membership, or the permission to view {meta.verbose_name}s.")
        return account

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False) or "account" not in self.kwargs:
            return self.queryset
        return self.queryset.model.objects.filter(account=self.account).select_related("account__parent")


class MemberViewSet(OfAccount, RetrieveModelMixin):
    """Who belongs to the account by membership; whoever manages an account above may do as much."""

    queryset = Membership.objects.none()
    serializer_class = bodies.MemberSerializer
    throttle_scope = "invite"

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("user")

    def get_throttles(self) -> list[Any]:
        return [ScopedThrottle(), UserThrottle()] if self.action == "create" else [UserThrottle()]

    @extend_schema(request=bodies.InviteSerializer, responses={201: bodies.InvitationSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Invite somebody by mail; the answer is the same whether or not the address has a user."""
        here, data = self.account, self.body(bodies.InviteSerializer)
        made = services.invite(
            account=here, email=data["email"], role=Role(data["role"]), by=request.user, now=clock.now()
        )
        return Response(bodies.InvitationSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=bodies.RoleSerializer, responses=bodies.MemberSerializer)
    def partial_update(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Give a member another role."""
        member, data = self.get_object(), self.body(bodies.RoleSerializer)
        changed = services.change_role(membership=member, role=Role(data["role"]), by=request.user)
        return Response(bodies.MemberSerializer(changed).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Remove a member, or leave."""
        services.remove_member(membership=self.get_object(), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class InvitationViewSet(OfAccount):
    """Letters that were neither accepted nor withdrawn."""

    queryset = Invitation.objects.none()
    serializer_class = bodies.InvitationSerializer

    def get_queryset(self) -> Any:
        found = super().get_queryset().select_related("invited_by")
        return found.acceptable(now=clock.now()) if self.action == "list" else found

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Withdraw an invitation: its link is worth nothing from now on."""
        services.revoke_invitation(invitation=self.get_object(), by=request.user, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class AcceptInvitationView(Idempotent, GenericAPIView):
    """Joining is for a person who logged in, so it names no `key_scope`."""

    serializer_class = bodies.InvitationTokenSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(operation_id="invitations_accept", responses=bodies.MemberSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Become a member by the token of a letter to one's own, verified address."""
        membership = services.accept_invitation(**self.body(), by=request.user, now=clock.now())
        return Response(bodies.MemberSerializer(membership).data)


class InviteChildView(OfAccount):
    """Ask somebody to put an account of theirs below this one."""

    queryset = Invitation.objects.none()
    serializer_class = bodies.InviteChildSerializer
    throttle_scope = "invite"

    def get_throttles(self) -> list[Any]:
        return [ScopedThrottle(), UserThrottle()]

    @extend_schema(operation_id="accounts_children_invite", responses={201: bodies.InvitationSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Send a letter by which its reader puts an account of theirs below this one, or does not."""
        here, data = self.account, self.body(bodies.InviteChildSerializer)
        made = services.invite_child(
            account=here, email=data["email"], pays_from=data["pays_from"], by=request.user, now=clock.now()
        )
        return Response(bodies.InvitationSerializer(made).data, status=status.HTTP_201_CREATED)


class LinkView(Idempotent, GenericAPIView):
    """Linking is for a person who logged in, so it names no `key_scope`."""

    serializer_class = bodies.LinkSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(operation_id="invitations_link", responses=AccountSerializer)
    def post(self, request: Request, version: str) -> Response:
        """Put an account of one's own below another, by the token of a letter to one's own, verified address."""
        data = self.body()
        linked = services.accept_link(
            token=data["token"],
            account=Account.objects.visible_to(request.user).named(data["account"]),
            pays_from=data["pays_from"],
            by=request.user,
            now=clock.now(),
        )
        return Response(AccountSerializer(described([linked], request.user)[0]).data)


class CapViewSet(OfAccount):
    """What the account and all below it may hold a period, by whoever pays; set by who manages its parent."""

    queryset = CapRule.objects.none()
    serializer_class = bodies.CapSerializer

    def list(self, request: Request, version: str, account: str) -> Response:
        """List the caps with how far each is used."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        services.add_standing(page, now=clock.now())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(request=bodies.CapSetSerializer, responses={201: bodies.CapSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Set a cap; the one that there is for the same unit and period is changed."""
        here, data = self.account, self.body(bodies.CapSetSerializer)
        now = clock.now()
        rule = services.set_cap(
            account=here,
            asset=data["asset"],
            period=CapPeriod(data["period"]),
            limit=data["amount"],
            by=request.user,
            now=now,
        )
        services.add_standing([rule], now=now)
        return Response(bodies.CapSerializer(rule).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Lift a cap."""
        services.remove_cap(rule=self.get_object(), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ThresholdViewSet(OfAccount):
    """Above what amount a task needs the yes of a manager first."""

    queryset = ApprovalThreshold.objects.none()
    serializer_class = bodies.ThresholdSerializer

    @extend_schema(request=bodies.ThresholdSetSerializer, responses={201: bodies.ThresholdSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Set the threshold for hours or for money; the one that there is is changed."""
        here, data = self.account, self.body(bodies.ThresholdSetSerializer)
        made = services.set_threshold(account=here, asset=data["asset"], above=data["amount"], by=request.user)
        return Response(bodies.ThresholdSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Remove a threshold."""
        services.remove_threshold(threshold=self.get_object(), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LowMarkViewSet(OfAccount):
    """Below what of hours and of money the people of an account are told, once a crossing."""

    queryset = LowMark.objects.none()
    serializer_class = bodies.LowMarkSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=bodies.LowMarkSerializer(many=True))
    def list(self, request: Request, version: str, account: str) -> Response:
        """Give both marks: the account's own, or the platform's where it has none."""
        return Response(bodies.LowMarkSerializer(services.standing_of(self.account), many=True).data)

    @extend_schema(request=bodies.LowMarkSetSerializer, responses={201: bodies.LowMarkSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Set the mark for hours or for money; the one that there is is changed."""
        here, data = self.account, self.body(bodies.LowMarkSetSerializer)
        services.set_low_mark(account=here, asset=data["asset"], below=data["amount"], by=request.user)
        made = next(row for row in services.standing_of(here) if row.asset == data["asset"])
        return Response(bodies.LowMarkSerializer(made).data, status=status.HTTP_201_CREATED)


class RegistryViewSet(OfAccount):
    """Log-ins to registries of images, for tasks of the account and of all below it; passwords are never shown."""

    queryset = RegistryLogin.objects.none()
    serializer_class = bodies.RegistryLoginSerializer

    @extend_schema(request=bodies.RegistryLoginSetSerializer, responses={201: bodies.RegistryLoginSerializer})
    def create(self, request: Request, version: str, account: str) -> Response:
        """Keep a log-in; the one that there is for the same registry is replaced."""
        here, data = self.account, self.body(bodies.RegistryLoginSetSerializer)
        made = services.set_registry_login(account=here, by=request.user, **data)
        return Response(bodies.RegistryLoginSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, account: str, pk: str) -> Response:
        """Forget a log-in."""
        services.remove_registry_login(login=self.get_object(), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
