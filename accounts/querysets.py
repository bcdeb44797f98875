"""Questions about many accounts, memberships, requests and log-ins."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import BaseUserManager
from django.db import models
from django.db.models import Exists, ExpressionWrapper, F, OuterRef, Q

from accounts.choices import AccountKind, InvitationKind, PaysFrom, QuotaRequestStatus, Role
from gaas.lib.emails import normal_email
from gaas.lib.errors import NotFound


class UserQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> UserQuerySet:
        """Keep everybody for whoever may view users, and for others themselves."""
        return self if user.has_perm("accounts.view_user") else self.filter(pk=user.pk)


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # a class made at run time
    """Make and find users by e-mail address; `createsuperuser` and log-in ask for these names."""

    def get_by_natural_key(self, username: str) -> Any:
        return self.get(email=normal_email(username))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Any:
        """Store a user; without a password none can log in by one."""
        if not normal_email(email):
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> Any:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})


class AccountQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> AccountQuerySet:
        """Keep what a user may see: memberships, all under managed accounts, and by permission everything."""
        if user.has_perm("accounts.view_account"):
            return self
        return self.of_member(user)

    def of_member(self, user: Any) -> AccountQuerySet:
        """Keep what a user sees by membership alone, whatever permissions say."""
        return self.filter(self._held_by(user, Role.VIEWER))

    def spendable_by(self, user: Any) -> AccountQuerySet:
        """Keep the accounts in which a user may submit tasks: a member, or a manager of an account above.

        A person's own is for its members alone, wherever it stands.
        """
        held = self._held_by(user, Role.MEMBER)
        if user.is_authenticated:
            direct = user.memberships.filter(role__in=Role.MEMBER.and_above).values("account_id")
            held &= ~Q(kind=AccountKind.PERSON) | Q(pk__in=direct)
        return self.open().filter(held)

    def managed_by(self, user: Any) -> AccountQuerySet:
        """Keep the accounts that a user manages or owns, those below included."""
        return self.filter(self._held_by(user, Role.MANAGER))

    def paying_for_themselves(self) -> AccountQuerySet:
        return self.filter(pays_from=PaysFrom.SELF)

    def open(self) -> AccountQuerySet:
        """Keep those that are not closed."""
        return self.filter(closed_at__isnull=True)

    def under(self, account: Any) -> AccountQuerySet:
        """Keep an account and everything below it."""
        return self.filter(path__startswith=account.path)

    def named(self, pk: Any, *, by: Any = None, attr: str = "account") -> Any:
        """Give the account that a body names in `attr`; without a name the one that `by` means then.

        Raises NotFound, the same for one that is not among these and one that is nowhere.
        """
        account = self.filter(pk=by.default_account.pk if pk is None and by is not None else pk).first()
        if account is None:
            raise NotFound("No such account, or not one that you see.", attr=attr)
        return account

    def _held_by(self, user: Any, role: Role) -> Q:
        """Ask for a role here, or for MANAGER and above in an account above.

        Roots are decided by the index on memberships; only children ask what stands above them.
        """
        if not user.is_authenticated:
            return Q(pk__in=[])
        direct = user.memberships.filter(role__in=role.and_above).values("account_id")
        from_above = role.and_above if role > Role.MANAGER else Role.MANAGER.and_above
        above = (
            self.model._base_manager.filter(memberships__user=user, memberships__role__in=from_above)
            .annotate(asked_path=ExpressionWrapper(OuterRef("path"), output_field=models.CharField()))
            .filter(asked_path__startswith=F("path"))
        )
        held = Q(pk__in=direct) | (Q(parent__isnull=False) & Q(Exists(above)))
        return held if user.bound_to is None else held & Q(path__startswith=user.bound_to.path)


class InvitationQuerySet(models.QuerySet):
    def open(self) -> InvitationQuerySet:
        """Keep what was neither accepted nor withdrawn, its time run out or not."""
        return self.filter(accepted_at__isnull=True, revoked_at__isnull=True)

    def acceptable(self, *, now: datetime) -> InvitationQuerySet:
        return self.open().filter(expires_at__gt=now)

    def to_join(self) -> InvitationQuerySet:
        """Keep what offers a role."""
        return self.filter(kind=InvitationKind.MEMBER)

    def to_link(self) -> InvitationQuerySet:
        """Keep what offers a place below for an account."""
        return self.filter(kind=InvitationKind.CHILD)

    def of_letter(self, token: str, *, now: datetime) -> InvitationQuerySet:
        """Keep the one that a letter's token is, while it can be accepted."""
        token_hash = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        return self.acceptable(now=now).filter(token_hash=token_hash, account__closed_at=None)


class QuotaRequestQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> QuotaRequestQuerySet:
        """Keep requests on accounts that a user is in or manages; who may view or decide all sees all."""
        if user.has_perm("accounts.view_quotarequest") or user.has_perm("accounts.change_quotarequest"):
            return self
        accounts = self.model._meta.get_field("account").related_model
        seen = Q(account__in=accounts.objects.of_member(user))
        return self.filter(seen if user.bound_to is not None else seen | Q(requested_by=user.pk))

    def pending(self) -> QuotaRequestQuerySet:
        return self.filter(status=QuotaRequestStatus.PENDING)


class TokenFamilyQuerySet(models.QuerySet):
    def live(self) -> TokenFamilyQuerySet:
        return self.filter(ended_at__isnull=True)

    def end(self, *, now: datetime) -> int:
        """End these log-ins: their refresh and access tokens are refused from now on."""
        return self.live().update(ended_at=now, updated_at=now)

    def outlived(self, *, now: datetime) -> TokenFamilyQuerySet:
        """Keep log-ins whose last refresh token has run out."""
        return self.filter(expires_at__lt=now)


class ApiKeyQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> ApiKeyQuerySet:
        """Keep a user's own keys; staff see others' in the admin."""
        return self.filter(user=user.pk)

    def live(self, *, now: Any) -> ApiKeyQuerySet:
        """Keep what is neither revoked nor over at a moment, which may be the database's Now()."""
        not_expired = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        not_replaced = Q(overlap_until__isnull=True) | Q(overlap_until__gt=now)
        return self.filter(not_expired, not_replaced, revoked_at__isnull=True)
