"""Words that rows of this app may hold, shared by models, API and admin."""

from __future__ import annotations

from django.db import models


class Role(models.TextChoices):
    """Rank what a user may do in an account: VIEWER < MEMBER < MANAGER < OWNER.

    Comparisons go by rank, never by alphabet; both sides must be a Role.
    """

    VIEWER = "VIEWER", "Viewer"
    MEMBER = "MEMBER", "Member"
    MANAGER = "MANAGER", "Manager"
    OWNER = "OWNER", "Owner"

    @property
    def rank(self) -> int:
        """Count from 0, the least."""
        return list(type(self)).index(self)

    @property
    def and_above(self) -> list[Role]:
        """List this role and every one that may do more, for `role__in=`."""
        return list(type(self))[self.rank :]

    def __lt__(self, other: str) -> bool:
        return self.rank < Role(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Role(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Role(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Role(other).rank


class AccountKind(models.TextChoices):
    PERSON = "PERSON", "Person"
    ORGANISATION = "ORGANISATION", "Organisation"
    PLATFORM = "PLATFORM", "Platform"


class PaysFrom(models.TextChoices):
    SELF = "SELF", "Itself"
    PARENT = "PARENT", "Its parent"


class InvitationKind(models.TextChoices):
    MEMBER = "MEMBER", "Membership"
    CHILD = "CHILD", "A child account"


class CapPeriod(models.TextChoices):
    """How often a cap begins anew, by the calendar of UTC; weeks begin on Monday."""

    DAY = "day", "Day"
    WEEK = "week", "Week"
    MONTH = "month", "Month"
    TOTAL = "total", "In total"


class QuotaRequestStatus(models.TextChoices):
    PENDING = "PENDING", "Pending"
    APPROVED = "APPROVED", "Approved"
    REJECTED = "REJECTED", "Rejected"


MAX_DEPTH = 8


class Scope(models.TextChoices):
    """Name what an API key may be used for; its user's own rights bound it besides."""

    ACCOUNTS_READ = "accounts:read", "See accounts, members, transfers and quota requests"
    ACCOUNTS_WRITE = "accounts:write", "Change accounts and ask for hours"
    TASKS_READ = "tasks:read", "See tasks, logs and quotes"
    TASKS_WRITE = "tasks:write", "Submit, cancel and retry tasks"
    GPUS_READ = "gpus:read", "See hosts and GPUs"
    GPUS_WRITE = "gpus:write", "Add and run hosts, offer GPUs"
    PAYMENTS_READ = "payments:read", "See payments, payouts, statements and charges"
    PAYMENTS_WRITE = "payments:write", "Begin, cancel and refund payments, ask for payouts"
    AI_USE = "ai:use", "Use models, datasets and chats"
    WEBHOOKS_READ = "webhooks:read", "See webhooks and what they were told"
    WEBHOOKS_WRITE = "webhooks:write", "Make, change, try and remove webhooks"
    APPROVALS_WRITE = "approvals:write", "Decide on tasks and quota requests"
