from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.choices import InvitationKind, PaysFrom, Role
from accounts.querysets import InvitationQuerySet
from gaas.lib.rows import Row


class Invitation(Row):
    """Offer a role in an account, or a place for an account below it, to whoever reads the mail of one address.

    Of the token only the SHA-256 is stored. Accepting is one conditional UPDATE, so a token is used once.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail address", max_length=254)
    kind = models.CharField(max_length=6, choices=InvitationKind, default=InvitationKind.MEMBER)
    role = models.CharField(max_length=8, choices=Role, default=Role.MEMBER, help_text="Of a member.")
    pays_from = models.CharField(
        max_length=6,
        choices=PaysFrom,
        default=PaysFrom.SELF,
        help_text="PARENT offers to pay for a child account; who owns that takes it up or not.",
    )
    child = models.ForeignKey(
        "accounts.Account",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="links",
        help_text="Which account was put below.",
    )
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "invitation"
        constraints = [
            models.UniqueConstraint(
                fields=["account", "email", "kind"],
                condition=Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="invitation_one_stands",
            ),
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True, accepted_by__isnull=True)
                | Q(accepted_at__isnull=False, accepted_by__isnull=False, revoked_at__isnull=True),
                name="invitation_accepted_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(child__isnull=True) | Q(kind=InvitationKind.CHILD, accepted_at__isnull=False),
                name="invitation_child_of_a_link",
            ),
        ]

    def __str__(self) -> str:
        if self.kind == InvitationKind.CHILD:
            return f"An account of {self.email} below {self.account}"
        return f"{self.email} as {self.get_role_display().lower()} of {self.account}"

    @property
    def offered_role(self) -> str | None:
        """Give the role that a member gets; linking an account makes no member."""
        return self.role if self.kind == InvitationKind.MEMBER else None

    @property
    def is_open(self) -> bool:
        """Tell whether it was neither accepted nor withdrawn; its time may have run out."""
        return self.accepted_at is None and self.revoked_at is None
