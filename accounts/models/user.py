from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Lower

from accounts.querysets import UserManager
from gaas.audit.services import record
from gaas.lib.emails import check_email, normal_email
from gaas.lib.errors import Conflict, NotAllowed
from gaas.lib.rows import Row

if TYPE_CHECKING:
    from accounts.models.account import Account
    from accounts.models.api_key import ApiKey


class User(Row, AbstractBaseUser, PermissionsMixin):
    """Be a person who logs in by e-mail address.

    Every user, however made, owns a personal account with the welcome hours (accounts/apps.py).
    """

    email = models.EmailField("e-mail address", max_length=254, unique=True)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Switch off instead of deleting: balances and history stay."
    )
    is_staff = models.BooleanField(
        "staff", default=False, help_text="May open the admin; what is seen there follows permissions."
    )
    email_verified_at = models.DateTimeField(null=True, blank=True, editable=False)

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    # By which key this person calls, if by one: it narrows what they may do.
    through: ApiKey | None = None

    objects = UserManager()

    class Meta(Row.Meta):
        verbose_name = "user"
        constraints = [
            # With this, the plain unique index on e-mail is the case-insensitive one.
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="user_email_is_lower_case"),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        super().clean()
        try:
            check_email(self.email)
        except ValidationError as problem:
            raise ValidationError({"email": problem}) from problem
        self.email = normal_email(self.email)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row; a new one comes with its account and hours or not at all."""
        self.email = normal_email(self.email)
        with transaction.atomic():
            super().save(*args, **kwargs)

    @property
    def bound_to(self) -> Account | None:
        """Give the account outside of which the key in use does nothing."""
        return self.through.account if self.through is not None else None

    @property
    def default_account(self) -> Account:
        """Give the account that is meant where none is named."""
        return self.bound_to or self.personal_account

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Ask for a permission as staff, which a key that is bound to an account carries none of."""
        return self.bound_to is None and super().has_perm(perm, obj)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.partition("@")[0]

    def end_log_ins(self, *, now: datetime, but_session: str | None = None) -> None:
        """Log out everywhere: every refresh and access token, and every browser but that of `but_session`."""
        self.token_families.all().end(now=now)
        for session in self.usersession_set.exclude(session_key=but_session or ""):
            session.end()

    def is_above(self, by: Any) -> bool:
        """Tell whether this is staff and `by` no superuser: whoever sees to people must not see to their own kind."""
        return (self.is_staff or self.is_superuser) and not by.is_superuser

    def rename(self, *, name: str, by: Any, now: datetime) -> None:
        """Set another's name. Raises NotAllowed for staff by anybody but a superuser."""
        if self != by and self.is_above(by):
            raise NotAllowed("Changing one of the staff takes a superuser.")
        with transaction.atomic():
            before, self.name = self.name, name
            User.objects.filter(pk=self.pk).update(name=name, updated_at=now)
            record(action="user.rename", obj=self, by=by, before={"name": before}, after={"name": name}, now=now)

    def switch_off(self, *, by: Any, now: datetime, reason: str = "") -> None:
        """Keep the user from logging in; what is logged in is refused from now on, and so are their keys.

        Raises Conflict for one who is switched off already, and NotAllowed for oneself and for staff by
        anybody but a superuser.
        """
        if self == by:
            raise NotAllowed("Somebody else has to switch you off.")
        if self.is_above(by):
            raise NotAllowed("Switching off one of the staff takes a superuser.")
        self._switch(to=False, by=by, now=now, reason=reason)

    def switch_on(self, *, by: Any, now: datetime, reason: str = "") -> None:
        """Let the user log in again, anew; raises as switch_off does, each the other way round."""
        if self.is_above(by):
            raise NotAllowed("Switching on one of the staff takes a superuser.")
        self._switch(to=True, by=by, now=now, reason=reason)

    def _switch(self, *, to: bool, by: Any, now: datetime, reason: str) -> None:
        with transaction.atomic():
            if not User.objects.filter(pk=self.pk, is_active=not to).update(is_active=to, updated_at=now):
                raise Conflict(f"This user is switched {'on' if to else 'off'} already.")
            self.is_active = to
            if not to:
                self.end_log_ins(now=now)
            record(
                action="user.switch_on" if to else "user.switch_off",
                obj=self,
                by=by,
                before={"is_active": not to},
                after={"is_active": to},
                reason=reason,
                now=now,
            )
