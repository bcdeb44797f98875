from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import services
from accounts.api import family_serializers as bodies
from accounts.api.filters import AccountFilter, TransferFilter
from accounts.api.pagination import OwnFirst
from accounts.api.serializers import AccountSerializer, TransferSerializer
from accounts.choices import PaysFrom
from accounts.ledger.models import Balance, Transfer
from accounts.models import Account
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.lib.rest.pagination import KeysetPagination
from gaas.outbox.api import Idempotent


def described(accounts: Sequence[Account], user: Any) -> Sequence[Account]:
    """Give each account what it can spend and the caller's role in it, in four queries for all."""
    balances, storage = services.balances_of_each(accounts), services.storage_of_each(accounts)
    roles = dict(user.memberships.values_list("account_id", "role"))
    for account in accounts:
        account.balances, account.storage = balances[account.pk], storage[account.pk]
        account.role = account.role_among(roles)
    return accounts


class AccountViewSet(Idempotent, ETagMixin, SparseFields, GenericViewSet):
    """Accounts that the caller is a member of, and those under accounts that the caller manages."""

    queryset = Account.objects.none()
    key_scope = "accounts"
    lookup_value_regex = "[0-9a-f-]{36}"
    key_required_for = ("fund", "reclaim")
    serializer_class = AccountSerializer
    filterset_class = AccountFilter
    pagination_class = OwnFirst

    balance_ids: Sequence[UUID] = ()

    def get_queryset(self) -> Any:
        # The browsable page and the schema ask too, for the filters of what the action lists.
        if self.action == "transfers":
            return Transfer.objects.touching(self.balance_ids)
        seen = Account.objects.visible_to(self.request.user)
        if self.action == "children":
            return seen.filter(parent=self.kwargs["pk"]) if "pk" in self.kwargs else seen.none()
        return seen.select_related("parent") if self.detail else seen

    @extend_schema(responses=AccountSerializer(many=True))
    def list(self, request: Request, version: str) -> Response:
        """List accounts with what each can spend, the caller's personal account first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(self._described(page), many=True).data)

    def retrieve(self, request: Request, version: str, pk: str) -> Response:
        """Show one account with what it can spend."""
        return Response(self.get_serializer(self._described([self.get_object()])[0]).data)

    @extend_schema(request=bodies.AccountCreateSerializer, responses={201: AccountSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Make an organisation's account, which the caller owns."""
        data = self.body(bodies.AccountCreateSerializer)
        made = services.create_account(name=data["name"], by=request.user)
        return self._one(made, status.HTTP_201_CREATED)

    @extend_schema(request=bodies.AccountPatchSerializer, responses=AccountSerializer)
    def partial_update(self, request: Request, version: str, pk: str) -> Response:
        """Rename an account, decide who pays, or move it under another account or none."""
        account, data = self.get_object(), self.body(bodies.AccountPatchSerializer)
        if data.get("parent") is not None:
            data["parent"] = self._seen(data["parent"], "parent")
        return self._one(services.change_account(account=account, changes=data, by=request.user))

    @extend_schema(request=bodies.CloseSerializer, responses=AccountSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.CloseSerializer)
    def close(self, request: Request, version: str, pk: str) -> Response:
        """Close an organisation's account for good; hours that are left go to its parent, or expire."""
        account, data = self.get_object(), self.body(bodies.CloseSerializer)
        closed = services.close_account(account=account, by=request.user, reason=data["reason"], now=clock.now())
        return self._one(closed)

    @extend_schema(operation_id="accounts_children_list", responses=AccountSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=KeysetPagination, filterset_class=None)
    def children(self, request: Request, version: str, pk: str) -> Response:
        """List the accounts right below this one."""
        get_object_or_404(Account.objects.visible_to(request.user), pk=pk)
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(self._described(page), many=True).data)

    @extend_schema(
        operation_id="accounts_children_create",
        request=bodies.ChildCreateSerializer,
        responses={201: AccountSerializer},
    )
    @children.mapping.post
    def create_child(self, request: Request, version: str, pk: str) -> Response:
        """Make an account below this one."""
        parent = get_object_or_404(Account.objects.visible_to(request.user), pk=pk)
        data = self.body(bodies.ChildCreateSerializer)
        made = services.create_child(
            parent=parent, name=data["name"], pays_from=PaysFrom(data["pays_from"]), by=request.user
        )
        return self._one(made, status.HTTP_201_CREATED)

    @extend_schema(request=bodies.FundSerializer, responses={201: TransferSerializer})
    @action(detail=True, methods=["post"], serializer_class=bodies.FundSerializer)
    def fund(self, request: Request, version: str, pk: str) -> Response:
        """Give hours or money to an account below."""
        account, data = self._shared(), self.body(bodies.FundSerializer)
        moved = services.fund(
            account=account,
            to=self._seen(data["to"], "to"),
            asset=data["asset"],
            amount=data["amount"],
            by=request.user,
            key=self.idempotency_key,
        )
        return self._moved(account, moved)

    @extend_schema(request=bodies.ReclaimSerializer, responses={201: TransferSerializer})
    @action(detail=True, methods=["post"], serializer_class=bodies.ReclaimSerializer)
    def reclaim(self, request: Request, version: str, pk: str) -> Response:
        """Take back from an account below what was given to it and is neither spent nor held."""
        account, data = self._shared(), self.body(bodies.ReclaimSerializer)
        moved = services.reclaim(
            account=account,
            source=self._seen(data["below"], "from"),
            asset=data["asset"],
            amount=data["amount"],
            by=request.user,
            key=self.idempotency_key,
        )
        return self._moved(account, moved)

    @extend_schema(responses=TransferSerializer(many=True))
    @action(
        detail=True,
        filterset_class=TransferFilter,
        pagination_class=KeysetPagination,
        serializer_class=TransferSerializer,
    )
    def transfers(self, request: Request, version: str, pk: str) -> Response:
        """List what came into the account and what left it, newest first."""
        account = get_object_or_404(Account.objects.visible_to(request.user), pk=pk)
        # Who sees accounts by permission is asked for more; nobody else has to be looked up again.
        user, may = request.user, request.user.has_perm
        is_clerk = may("accounts.view_account") and not may("ledger.view_transfer")
        if is_clerk and account.role_of(user) is None:
            raise PermissionDenied("Seeing this takes membership, or the permission to view transfers.")
        self.balance_ids = list(Balance.objects.filter(owner_key=account.owner_key).values_list("pk", flat=True))
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "balance_ids": self.balance_ids}

    def _described(self, accounts: Sequence[Account]) -> Sequence[Account]:
        return described(accounts, self.request.user)

    def _shared(self) -> Account:
        """Give the account whose hours or money are moved; who may not is told so before any other is looked for."""
        account: Account = self.get_object()
        services.require_sharing(account, self.request.user)
        return account

    def _seen(self, pk: UUID, attr: str) -> Account:
        account: Account = Account.objects.visible_to(self.request.user).named(pk, attr=attr)
        return account

    def _one(self, account: Account, code: int = status.HTTP_200_OK) -> Response:
        return Response(AccountSerializer(self._described([account])[0]).data, status=code)

    def _moved(self, account: Account, moved: Transfer) -> Response:
        own = list(Balance.objects.filter(owner_key=account.owner_key).values_list("pk", flat=True))
        shown = TransferSerializer(moved, context={**self.get_serializer_context(), "balance_ids": own})
        return Response(shown.data, status=status.HTTP_201_CREATED)
