"""What every page of one account shares, those of other apps too: its head, its tabs, what its visitor may do."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts import services
from accounts.choices import AccountKind, Role
from accounts.models import Account
from accounts.pages import tabs
from accounts.services.authority import is_clerk
from gaas.lib.pages.board import Board


class OfAccount(Board):
    """Find the account of the path, and say what its visitor may do there."""

    @cached_property
    def account(self) -> Account:
        seen = Account.objects.visible_to(self.request.user).select_related("parent")
        return get_object_or_404(seen, pk=self.kwargs["pk"])

    @cached_property
    def role(self) -> Role | None:
        return self.account.role_among(self._roles)

    @cached_property
    def role_above(self) -> Role | None:
        return self.account.parent.role_among(self._roles) if self.account.parent else None

    @property
    def may_manage(self) -> bool:
        return self._is_clerk or (self.role is not None and self.role >= Role.MANAGER)

    @property
    def may_own(self) -> bool:
        return self._is_clerk or self.role == Role.OWNER

    @property
    def may_share(self) -> bool:
        """Tell whether one gives the account what its parent has; no staff does that for others."""
        return self.role_above is not None and self.role_above >= Role.MANAGER

    @property
    def _owns_above(self) -> bool:
        return self.account.kind == AccountKind.PERSON and self.role_above == Role.OWNER

    @property
    def may_limit(self) -> bool:
        return self._is_clerk or (self.may_share if self.account.parent else self.role == Role.OWNER)

    @property
    def sees_webhooks(self) -> bool:
        """Tell whether one manages the account, or is staff who may view webhooks; clerks alone do neither."""
        manages = self.role is not None and self.role >= Role.MANAGER
        return manages or self.request.user.has_perm("outbox.view_webhook")

    @property
    def parent_seen(self) -> Account | None:
        """Give the account above to whom may see it, and to others nothing of it."""
        above = self.account.parent
        if above is None or self.role_above is not None or self.request.user.has_perm("accounts.view_account"):
            return above
        return None

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            account=self.account,
            role=self.role,
            parent_seen=self.parent_seen,
            may_manage=self.may_manage and self.account.closed_at is None,
            may_own=self.may_own and self.account.closed_at is None,
            tabs=tabs.of(self),
            **kwargs,
        )

    @cached_property
    def _roles(self) -> dict[Any, str]:
        lineage = [self.account.pk, *self.account.ancestor_ids]
        return dict(self.request.user.memberships.filter(account__in=lineage).values_list("account_id", "role"))

    @cached_property
    def _is_clerk(self) -> bool:
        return is_clerk(self.request.user)


def url(account: Account) -> str:
    return reverse("account", args=[account.pk])


def describe(accounts: Any, roles: dict[Any, str]) -> None:
    """Put on each account what it can spend and its visitor's role, in two queries for all."""
    balances = services.balances_of_each(accounts)
    for account in accounts:
        account.balances = balances[account.pk]
        account.hours_total = account.balances.hours_available + account.balances.hours_held
        account.wallet_total = account.balances.wallet_available + account.balances.wallet_held
        account.role = account.role_among(roles)
