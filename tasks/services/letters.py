"""Ask by mail for the yes or no that a task waits for, and take the answer by the letter's link."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from accounts.choices import Role
from accounts.models import CapRule, User
from accounts.services import add_standing
from gaas.lib.errors import DomainError
from gaas.outbox import services as outbox
from tasks.choices import StepKind, StepStatus
from tasks.models import ApprovalStep, Task
from tasks.services.decide import approve, reject

if TYPE_CHECKING:
    from accounts.models import Account

SALT = "tasks.approval"
BATCH = 100
MOST_ASKED = 50
BY_MAIL = "(by the link of a letter)"


class BadLink(DomainError):
    """Refuse a link that is no letter of ours, too old, or written to somebody who has changed since."""

    code = "invalid_link"

    def __init__(self) -> None:
        super().__init__("This link is not valid or too old. Log in to decide.")


@dataclass(frozen=True)
class Asked:
    """Hold what a letter asks of whom."""

    step: ApprovalStep
    user: User


def ask_by_mail(*, now: datetime) -> int:
    """Write once, to whoever decides it, about each step whose turn has come; tell for how many that was done.

    A step is marked in the transaction that stores its letters, by a conditional UPDATE: of two callers one writes.
    """
    steps = ApprovalStep.objects.first_waiting().filter(asked_at__isnull=True)
    related = ("task__submitted_by", "task__account", "task__hold__balance__asset", "account")
    asked = 0
    for step in steps.select_related(*related)[:BATCH]:
        with transaction.atomic():
            mine = ApprovalStep.objects.filter(pk=step.pk, asked_at__isnull=True, status=StepStatus.PENDING)
            if not mine.update(asked_at=now, updated_at=now):
                continue
            for user in holders(step):
                _write(step, user)
            asked += 1
    return asked


def holders(step: ApprovalStep) -> Sequence[User]:
    """List who is written to: they may decide the step, read the mail of their address, and did not submit the task.

    Of a parent's step the managers of its account; where it has none, those of the nearest account above.
    """
    if step.kind == StepKind.STAFF:
        return _reached(ModelBackend().with_perm("tasks.approve_task"), step) if settings.MAIL_STAFF_APPROVALS else []
    for pk in _upwards(step.account):
        managing = User.objects.filter(memberships__account=pk, memberships__role__in=Role.MANAGER.and_above)
        if found := _reached(managing, step):
            return found
    return []


def letter_token(step: ApprovalStep, user: User) -> str:
    """Sign who may decide what; good for APPROVAL_LINK_SECONDS, and while address and password stay the same."""
    return signing.dumps([str(step.pk), str(user.pk), _stamp(user)], salt=SALT)


def read_letter(*, token: str) -> Asked:
    """Give what a letter's link asks of whom; changes nothing. Raises BadLink."""
    try:
        step_pk, user_pk, stamp = signing.loads(token, salt=SALT, max_age=settings.APPROVAL_LINK_SECONDS)
        step_id, user_id = UUID(step_pk), UUID(user_pk)
    except (signing.BadSignature, ValueError, TypeError, AttributeError):
        raise BadLink from None
    user = User.objects.filter(pk=user_id, is_active=True, email_verified_at__isnull=False).first()
    steps = ApprovalStep.objects.select_related(
        "task__submitted_by", "task__account", "task__payer", "task__hold__balance__asset", "account", "decided_by"
    )
    step = steps.filter(pk=step_id).first()
    if user is None or step is None or not hmac.compare_digest(_stamp(user), str(stamp)):
        raise BadLink
    return Asked(step, user)


def decide_by_letter(*, token: str, is_yes: bool, reason: str, now: datetime) -> Task:
    """Decide the step of a letter as the person it was written to; a link decides once, since its step does.

    Raises BadLink, and what `approve` and `reject` raise: NotAllowed for who lost the role, Conflict for what is
    decided.
    """
    asked = read_letter(token=token)
    step, user = asked.step, asked.user
    if is_yes:
        return approve(step.task, by=user, reason=f"{reason.strip()} {BY_MAIL}".strip(), step=step, now=now)
    return reject(step.task, by=user, reason=reason, step=step, now=now)


def what_is_left(task: Task, *, now: datetime) -> list[str]:
    """Say what the payer can still spend after this task's hold, and what each cap on the account or above leaves."""
    balance = task.hold.balance
    said = [f"{task.payer} has {balance.asset.show(balance.available)} left."]
    rules = list(
        CapRule.objects.filter(account__in=_upwards(task.account), asset=balance.asset_id)
        .select_related("account")
        .order_by("account", "period")
    )
    add_standing(rules, now=now)
    for rule in rules:
        left = max(0, rule.limit - rule.standing.used)  # type: ignore[attr-defined]  # which add_standing put there
        said.append(f"The cap of {rule.account}, {rule}, leaves {rule.show(left)}.")
    return said


def _write(step: ApprovalStep, user: User) -> None:
    task = step.task
    outbox.post(
        to=user.email,
        subject=f"{task.submitted_by.get_full_name()} asks for your yes: {task.title}",
        template="mail/approval.txt",
        context={
            "step": step,
            "task": task,
            "user": user,
            "held": task.hold.balance.asset.show(task.hold.amount),
            "base_url": settings.BASE_URL,
            "token": letter_token(step, user),
            "hours": max(1, settings.APPROVAL_LINK_SECONDS // 3600),
        },
        key=f"step:{step.pk}:{user.pk}",
    )


def _reached(users: QuerySet[User], step: ApprovalStep) -> list[User]:
    found = users.filter(is_active=True, email_verified_at__isnull=False).exclude(pk=step.task.submitted_by_id)
    return list(found.order_by("pk").distinct()[:MOST_ASKED])


def _upwards(account: Account | None) -> list[UUID]:
    return [account.pk, *reversed(account.ancestor_ids)] if account is not None else []


def _stamp(user: User) -> str:
    return salted_hmac(SALT, f"{user.email} {user.password}", algorithm="sha256").hexdigest()[:16]
