from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import services
from accounts.api.filters import AccountFilter, TransferFilter
from accounts.api.pagination import OwnFirst
from accounts.api.serializers import AccountSerializer, TransferSerializer
from accounts.ledger.models import Balance, Transfer
from accounts.models import Account
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.lib.rest.pagination import KeysetPagination


class AccountViewSet(ETagMixin, SparseFields, GenericViewSet):
    """Accounts that the caller is a member of, and those under accounts that the caller manages."""

    queryset = Account.objects.none()
    key_scope = "accounts"
    serializer_class = AccountSerializer
    filterset_class = AccountFilter
    pagination_class = OwnFirst

    balance_ids: Sequence[UUID] = ()

    def get_queryset(self) -> Any:
        # The browsable page and the schema ask too, for the filters of what the action lists.
        if self.action == "transfers":
            return Transfer.objects.touching(self.balance_ids)
        return Account.objects.visible_to(self.request.user)

    @extend_schema(responses=AccountSerializer(many=True))
    def list(self, request: Request, version: str) -> Response:
        """List accounts with what each can spend, the caller's personal account first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(self._described(page), many=True).data)

    def retrieve(self, request: Request, version: str, pk: str) -> Response:
        """Show one account with what it can spend."""
        return Response(self.get_serializer(self._described([self.get_object()])[0]).data)

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
        self.balance_ids = list(Balance.objects.filter(owner_key=account.owner_key).values_list("pk", flat=True))
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "balance_ids": self.balance_ids}

    def _described(self, accounts: Sequence[Account]) -> Sequence[Account]:
        """Give each account what it can spend and the caller's role in it, in three queries for all."""
        balances = services.balances_of_each(accounts)
        roles = dict(self.request.user.memberships.values_list("account_id", "role"))
        for account in accounts:
            account.balances = balances[account.pk]
            account.role = account.role_among(roles)
        return accounts
