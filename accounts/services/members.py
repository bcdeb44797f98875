"""Who belongs to an account: invitations by mail, roles, leaving."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from accounts.choices import AccountKind, Role
from accounts.models import Account, Invitation, Membership, User
from accounts.querysets import InvitationQuerySet
from accounts.services.authority import (
    is_clerk,
    locked,
    refuse_own_gain,
    require_open,
    require_role,
    require_spending,
)
from accounts.services.organisations import NoOwner, has_owner
from accounts.services.register import check_verified
from gaas.audit.services import record
from gaas.lib.emails import normal_email
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.outbox import services as outbox

INVITATION_AGE = timedelta(days=7)
MAX_MEMBERS = 10_000


class AlreadyMember(Conflict):
    """State that who is invited belongs to the account already."""

    code = "already_member"


class BadInvitation(DomainError):
    """State that a token invites nobody, or nobody any more."""

    code = "invalid_invitation"


class InvitationForAnother(NotAllowed):
    """State that the token was written to another address than the caller's."""

    code = "invitation_for_another"


def invite(*, account: Account, email: str, role: Role, by: User, now: datetime) -> Invitation:
    """Offer a role to whoever reads the mail of an address; an older offer to it ends.

    The answer is the same whether or not the address has a user. Raises NotAllowed for less than a manager and
    for a role above one's own, EmailNotVerified, AlreadyMember, AccountClosed.
    """
    require_role(account, by, Role.OWNER if role == Role.OWNER else Role.MANAGER, f"Inviting {_a(role)}")
    require_spending(account, by, Role.MANAGER, f"Inviting {_a(role)}")
    check_verified(by, is_needed=True)
    email = normal_email(email)
    if email == by.email:
        refuse_own_gain(account, by, Role.MANAGER)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        here = locked(account)[0]
        require_open(here)
        if here.kind == AccountKind.PLATFORM:
            raise NotAllowed("Members of the platform's account are made by staff.")
        if here.memberships.filter(user__email=email).exists():
            raise AlreadyMember(f"{email} is a member of {here} already; change the role instead.", attr="email")
        if here.memberships.count() + here.invitations.to_join().acceptable(now=now).count() >= MAX_MEMBERS:
            raise Conflict(f"{here} has {MAX_MEMBERS} members; remove one first.", code="too_many")
        here.invitations.to_join().open().filter(email=email).update(revoked_at=now, updated_at=now)
        made = Invitation.objects.create(
            account=here,
            email=email,
            role=role,
            token_hash=token_hash(token),
            invited_by=by,
            expires_at=now + INVITATION_AGE,
        )
        outbox.post(
            to=email,
            subject=f"{by.get_full_name()} invites you to {here} on GaaS",
            template="mail/invitation.txt",
            context={
                "account": here,
                "by": by,
                "role": role.label.lower(),
                "base_url": settings.BASE_URL,
                "token": token,
                "days": INVITATION_AGE.days,
            },
            key=f"invitation:{made.pk}",
        )
        record(action="invitation.create", obj=made, by=by, after={"email": email, "role": role}, now=now)
    return made


def find_invitation(*, token: str, now: datetime) -> Invitation | None:
    """Give the open invitation that a letter's token is, to show its bearer; an unknown or old one is none."""
    return Invitation.objects.of_letter(token, now=now).select_related("account", "invited_by").first()


def accept_invitation(*, token: str, by: User, now: datetime) -> Membership:
    """Make the caller a member by the token of a letter to their verified address, once.

    Raises BadInvitation for a token that is unknown, used, withdrawn, too old, or whose writer may not invite
    any more; InvitationForAnother, EmailNotVerified, AlreadyMember.
    """
    found = letter_to(by, Invitation.objects.to_join(), token=token, now=now)
    with transaction.atomic():
        account = locked(found.account)[0]
        require_open(account)
        role = Role(found.role)
        require_writer(found, account.spending_role_of(found.invited_by), max(role, Role.MANAGER))
        if account.memberships.filter(user=by).exists():
            raise AlreadyMember(f"You are a member of {account} already.")
        took = Invitation.objects.acceptable(now=now).filter(pk=found.pk)
        if not took.update(accepted_at=now, accepted_by=by, updated_at=now):
            raise bad_invitation()
        membership = Membership.objects.create(account=account, user=by, role=role)
        record(action="invitation.accept", obj=found, by=by, after={"role": role}, now=now)
    return membership


def letter_to(by: User, letters: InvitationQuerySet, *, token: str, now: datetime) -> Invitation:
    """Give the one of these letters that a token is, if it was written to the caller.

    Raises BadInvitation, InvitationForAnother, EmailNotVerified.
    """
    found = letters.acceptable(now=now).filter(token_hash=token_hash(token)).select_related("account").first()
    if found is None:
        raise bad_invitation()
    if found.email != by.email:
        raise InvitationForAnother("This invitation was written to another address; log in with that one.")
    check_verified(by, is_needed=True)
    return found


def require_writer(invitation: Invitation, role: Role | None, least: Role) -> None:
    """Raise BadInvitation where who wrote it, who has this role now, may not invite so any more."""
    writer = invitation.invited_by
    if not writer.is_active or not (is_clerk(writer) or (role is not None and role >= least)):
        raise bad_invitation()


def revoke_invitation(*, invitation: Invitation, by: User, now: datetime) -> None:
    """Withdraw an offer. Raises NotAllowed as inviting does, Conflict for one that was accepted or withdrawn."""
    least = Role.OWNER if invitation.role == Role.OWNER else Role.MANAGER
    require_role(invitation.account, by, least, "Withdrawing an invitation")
    with transaction.atomic():
        if not Invitation.objects.open().filter(pk=invitation.pk).update(revoked_at=now, updated_at=now):
            raise Conflict("This invitation was accepted or withdrawn before.")
        record(action="invitation.revoke", obj=invitation, by=by, before={"email": invitation.email}, now=now)


def add_member(*, account: Account, user: User, role: Role, by: User) -> Membership:
    """Have staff make somebody a member without a letter. Raises NotAllowed for others, AlreadyMember."""
    if not is_clerk(by):
        raise NotAllowed("Invite people by mail; only staff add them.")
    if user.pk == by.pk:
        refuse_own_gain(account, by, Role.OWNER)
    with transaction.atomic():
        here = locked(account)[0]
        require_open(here)
        made, is_new = Membership.objects.get_or_create(account=here, user=user, defaults={"role": role})
        if not is_new:
            raise AlreadyMember(f"{user} is a member of {here} already.")
        record(action="member.add", obj=made, by=by, after={"user": user.email, "role": role})
    return made


def change_role(*, membership: Membership, role: Role, by: User) -> Membership:
    """Give a member another role.

    Raises NotAllowed for who does not own the account, NoOwner where none would be left, Conflict for the
    person of a personal account, who owns it always.
    """
    require_role(membership.account, by, Role.OWNER, "Changing a role")
    with transaction.atomic():
        here, stored = _stored(membership)
        if stored.user_id == by.pk and role > Role(stored.role):
            refuse_own_gain(here, by, Role.OWNER)
        before, stored.role = stored.role, role
        if before != role:
            _refuse_for_person(here, stored)
            stored.save(update_fields=["role", "updated_at"])
            _keep_an_owner(here, before)
            record(
                action="member.change_role",
                obj=stored,
                by=by,
                before={"user": stored.user.email, "role": before},
                after={"role": role},
            )
    return stored


def remove_member(*, membership: Membership, by: User) -> None:
    """End a membership: one's own, any by an owner, and by a manager those of lesser roles.

    Raises NotAllowed, NoOwner where none would be left, Conflict as change_role does.
    """
    if membership.user_id != by.pk:
        lesser = Role(membership.role) < Role.MANAGER
        require_role(membership.account, by, Role.MANAGER if lesser else Role.OWNER, "Removing this member")
    with transaction.atomic():
        here, stored = _stored(membership)
        _refuse_for_person(here, stored)
        if stored.role != membership.role:
            raise Conflict("The role of this member was changed at this moment; look again.")
        record(action="member.remove", obj=stored, by=by, before={"user": stored.user.email, "role": stored.role})
        stored.delete()
        _keep_an_owner(here, stored.role)


def _stored(membership: Membership) -> tuple[Account, Membership]:
    """Lock the account, so that of two owners who remove each other one stays, and read the membership anew."""
    here = locked(membership.account)[0]
    stored = Membership.objects.select_related("user").filter(pk=membership.pk).first()
    if stored is None:
        raise Conflict("This member was removed at this moment.")
    return here, stored


def _keep_an_owner(account: Account, lost: str) -> None:
    if lost == Role.OWNER and not has_owner(account):
        raise NoOwner(f"{account} would have no owner; make another member its owner first.", attr="role")


def _refuse_for_person(account: Account, membership: Membership) -> None:
    if account.person_id is not None and account.person_id == membership.user_id:
        raise Conflict("A person owns their personal account as long as it is there.")


def _a(role: Role) -> str:
    return f"{'an' if role == Role.OWNER else 'a'} {role.label.lower()}"


def token_hash(token: str) -> str:
    """Give what is stored of a letter's token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def bad_invitation() -> BadInvitation:
    """Refuse a token in one way, whatever is wrong with it."""
    return BadInvitation("This invitation is not valid, used or too old; ask for a new one.", attr="token")
