from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models

from accounts.choices import MAX_DEPTH, AccountKind, PaysFrom, Role
from accounts.querysets import AccountQuerySet
from gaas.audit.history import kept_history
from gaas.lib.rows import Row


class Account(Row):
    """Be who pays: a person's own, an organisation's or one of its children, or the platform's.

    `path` is "/<root>/…/<own id>/": everything under an account is one prefix search.
    """

    name = models.CharField(max_length=150)
    kind = models.CharField(max_length=12, choices=AccountKind, default=AccountKind.ORGANISATION)
    person = models.OneToOneField(
        "accounts.User",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="personal_account",
        help_text="Whose personal account this is.",
    )
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    path = models.CharField(max_length=320, unique=True, editable=False)
    pays_from = models.CharField(max_length=6, choices=PaysFrom, default=PaysFrom.SELF)
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_listened = models.BooleanField(
        default=False, editable=False, help_text="A webhook may hear of it; where it is false none does."
    )

    objects = AccountQuerySet.as_manager()
    history = kept_history(without=("path", "is_listened"))

    class Meta(Row.Meta):
        verbose_name = "account"
        permissions = [("grant_hours", "Can grant hours to an account")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind=AccountKind.PERSON, person__isnull=False)
                | (~models.Q(kind=AccountKind.PERSON) & models.Q(person__isnull=True)),
                name="account_person_has_a_person",
            ),
            models.CheckConstraint(
                condition=models.Q(parent__isnull=False) | models.Q(pays_from=PaysFrom.SELF),
                name="account_root_pays_for_itself",
            ),
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(kind=AccountKind.PLATFORM), name="account_one_platform"
            ),
        ]
        indexes = [
            models.Index(fields=["kind", "-id"], name="account_kind"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.parent is None and self.pays_from == PaysFrom.PARENT:
            raise ValidationError({"pays_from": "An account without a parent pays for itself."})
        if self._state.adding and self.parent is not None and self.parent.depth >= MAX_DEPTH:
            raise ValidationError({"parent": f"An account tree has at most {MAX_DEPTH} levels."})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row; its place in the tree is fixed at the first save."""
        if self._state.adding:
            above = self.parent.path if self.parent is not None else "/"
            self.path = f"{above}{self.pk}/"
            # Who hears of all below an account hears of what is new there.
            self.is_listened = self.is_listened or (self.parent is not None and self.parent.is_listened)
            if self.depth > MAX_DEPTH:
                raise ValidationError({"parent": f"An account tree has at most {MAX_DEPTH} levels."})
        super().save(*args, **kwargs)

    @classmethod
    def platform(cls) -> Account:
        """Give the platform's own account: a migration made it, and a flushed database makes it again."""
        return cls.objects.get_or_create(kind=AccountKind.PLATFORM, defaults={"name": "Platform"})[0]

    @property
    def depth(self) -> int:
        """Count the levels from the root, which is 1."""
        return self.path.count("/") - 1

    @property
    def owner_key(self) -> str:
        """Name this account in the ledger."""
        return f"acct:{self.pk}"

    @property
    def ancestor_ids(self) -> list[UUID]:
        """List the ids above this account, the root first."""
        return [UUID(id_) for id_ in self.path.strip("/").split("/")[:-1]]

    def role_of(self, user: Any) -> Role | None:
        """Tell what a user may do here: by membership, or as manager or owner of an account above."""
        if not getattr(user, "is_authenticated", False):
            return None
        if user.bound_to is not None and not self.path.startswith(user.bound_to.path):
            return None
        lineage = [self.pk, *self.ancestor_ids]
        return self.role_among(dict(user.memberships.filter(account__in=lineage).values_list("account_id", "role")))

    def role_among(self, roles: dict[UUID, str]) -> Role | None:
        """Do as role_of by a user's memberships that were read before, as roles by account id.

        A person alone owns their personal account: who owns one above it manages it.
        """
        held = [Role(roles[self.pk])] if self.pk in roles else []
        above = [Role(roles[id_]) for id_ in self.ancestor_ids if id_ in roles]
        managing = [role for role in above if role >= Role.MANAGER]
        if managing and self.kind == AccountKind.PERSON:
            managing = [Role.MANAGER]
        return max([*held, *managing], default=None, key=lambda role: role.rank)

    def spending_role_of(self, user: Any) -> Role | None:
        """Do as role_of for who spends from here or lets others do so.

        What a person brought stays their own below a parent: there the roles above count for nothing.
        """
        if self.kind != AccountKind.PERSON or self.parent_id is None:
            return self.role_of(user)
        role = self.role_of(user)
        held = user.memberships.filter(account=self.pk).values_list("role", flat=True).first() if role else None
        return Role(held) if held else None

    def payer(self) -> Account:
        """Find on which account holds go: this one, or the nearest ancestor that pays for itself."""
        account = self
        while account.pays_from == PaysFrom.PARENT and account.parent is not None:
            account = account.parent
        return account
