"""Put an account below one that somebody else manages: one side invites, the other says yes."""

from __future__ import annotations

import secrets
from datetime import datetime

from django.conf import settings
from django.db import transaction

from accounts.choices import AccountKind, InvitationKind, PaysFrom, Role
from accounts.models import Account, Invitation, User
from accounts.services.authority import locked, require_open, require_role
from accounts.services.members import (
    INVITATION_AGE,
    bad_invitation,
    letter_to,
    require_writer,
    token_hash,
)
from accounts.services.organisations import MAX_CHILDREN, owns_itself, place
from accounts.services.register import check_verified
from gaas.audit.history import changed_by
from gaas.audit.services import record
from gaas.lib.emails import normal_email
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.outbox import services as outbox

MAX_LETTERS = 1_000


class NotOffered(DomainError):
    """State that the letter does not offer what is taken."""

    code = "not_offered"
    depends_on_state = True


def invite_child(
    *, account: Account, email: str, pays_from: str = PaysFrom.SELF, by: User, now: datetime
) -> Invitation:
    """Ask whoever reads the mail of an address to put an account of theirs below this one.

    `pays_from` PARENT offers to pay for its tasks, too. An older letter to the address ends; the answer is the same
    whether or not the address has a user. Raises NotAllowed for less than a manager, EmailNotVerified, AccountClosed.
    """
    require_role(account, by, Role.MANAGER, "Inviting a child account")
    check_verified(by, is_needed=True)
    email, token = normal_email(email), secrets.token_urlsafe(32)
    with transaction.atomic():
        here = locked(account)[0]
        require_open(here)
        if here.kind == AccountKind.PLATFORM:
            raise NotAllowed("The platform's account has no children.")
        letters = here.invitations.to_link()
        letters.open().filter(email=email).update(revoked_at=now, updated_at=now)
        if letters.acceptable(now=now).count() >= MAX_LETTERS:
            raise Conflict(f"{here} has {MAX_LETTERS} open letters; withdraw one first.", code="too_many")
        made = Invitation.objects.create(
            account=here,
            email=email,
            kind=InvitationKind.CHILD,
            role=Role.VIEWER,
            pays_from=pays_from,
            token_hash=token_hash(token),
            invited_by=by,
            expires_at=now + INVITATION_AGE,
        )
        outbox.post(
            to=email,
            subject=f"{by.get_full_name()} asks to link your account to {here} on GaaS",
            template="mail/link.txt",
            context={
                "account": here,
                "by": by,
                "pays": pays_from == PaysFrom.PARENT,
                "base_url": settings.BASE_URL,
                "token": token,
                "days": INVITATION_AGE.days,
            },
            key=f"invitation:{made.pk}",
        )
        record(
            action="invitation.create",
            obj=made,
            by=by,
            after={"email": email, "kind": made.kind, "pays_from": pays_from},
            now=now,
        )
    return made


def accept_link(*, token: str, account: Account, pays_from: str = PaysFrom.SELF, by: User, now: datetime) -> Account:
    """Put an account of the caller's own below the one that a letter to their verified address names, once.

    1. Lock both and move it as `place` does: what it has stays its own. 2. Look again who may, under that lock.
    3. Take the letter. It pays for itself unless the letter offers otherwise and `pays_from` takes that up.
    Raises as accept_invitation and place do, NotAllowed for an account that is not the caller's own, NotOffered.
    """
    found = letter_to(by, Invitation.objects.to_link(), token=token, now=now)
    if not owns_itself(account, by):
        raise NotAllowed(f"Only who owns {account} itself puts it below another account.", attr="account")
    if pays_from == PaysFrom.PARENT and found.pays_from != PaysFrom.PARENT:
        raise NotOffered(f"{found.account} did not offer to pay for what is below it.", attr="pays_from")
    with transaction.atomic():
        here = place(account=account, parent=found.account, by=by)
        above = found.account
        if not owns_itself(here, by):
            raise NotAllowed(f"Only who owns {here} itself puts it below another account.", attr="account")
        require_writer(found, above.role_of(found.invited_by), Role.MANAGER)
        if above.children.filter(closed_at=None).count() > MAX_CHILDREN:
            raise Conflict(f"{above} has {MAX_CHILDREN} children; one has to go first.", code="too_many")
        took = Invitation.objects.acceptable(now=now).filter(pk=found.pk)
        if not took.update(accepted_at=now, accepted_by=by, child=here, updated_at=now):
            raise bad_invitation()
        before = here.pays_from
        if before != pays_from:
            here.pays_from = pays_from
            changed_by(here, by).save(update_fields=["pays_from", "updated_at"])
        record(
            action="account.link",
            obj=here,
            by=by,
            before={"pays_from": before},
            after={"parent": str(above.pk), "pays_from": pays_from, "invitation": str(found.pk)},
            now=now,
        )
    return here
