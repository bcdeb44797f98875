"""Ask for more hours, and answer."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.choices import Role
from accounts.models import Account, QuotaRequest, User
from accounts.services.hours import TooManyHours, check_hours, check_pays_for_itself, grant_hours
from gaas.audit.services import record
from gaas.lib.amounts import show_hours
from gaas.lib.errors import DomainError, NotAllowed


def request_quota(*, account: Account, gpu_ms: int, by: User, reason: str) -> QuotaRequest:
    """Ask for hours on an account in which the user may spend.

    Raises NotAllowed for a viewer, TooManyHours, and PaysFromParent if the hours could never be spent.
    """
    role = account.role_of(by)
    if role is None or role < Role.MEMBER:
        raise NotAllowed("Asking for hours takes the role of a member of this account.", attr="account")
    check_hours(gpu_ms)
    check_pays_for_itself(account)
    with transaction.atomic():
        asked = QuotaRequest.objects.create(account=account, requested_by=by, gpu_ms=gpu_ms, reason=reason)
        record(action="quota_request.create", obj=asked, by=by, after={"gpu_ms": gpu_ms}, reason=reason)
    return asked


def approve_quota_request(
    *, request: QuotaRequest, by: User, now: datetime, gpu_ms: int | None = None, reason: str = ""
) -> QuotaRequest:
    """Say yes and grant the hours in one transaction: all that was asked, or less.

    Raises NotAllowed on one's own request, TooManyHours for more than was asked, and Conflict, which
    names who decided and when, if somebody did before.
    """
    _check_decider(request, by)
    granted_ms = request.gpu_ms if gpu_ms is None else gpu_ms
    if not 0 < granted_ms <= request.gpu_ms:
        raise TooManyHours(
            f"Grant hours above 0 and at most the {show_hours(request.gpu_ms)} that were asked for.", attr="hours"
        )
    with transaction.atomic():
        request.approve(by=by, granted_ms=granted_ms, reason=reason, now=now)
        grant_hours(
            account=request.account,
            gpu_ms=granted_ms,
            by=by,
            reason=reason or request.reason,
            key=f"quota_request:{request.pk}",
        )
    return request


def reject_quota_request(*, request: QuotaRequest, by: User, reason: str, now: datetime) -> QuotaRequest:
    """Say no with a reason. Raises NotAllowed on one's own request and Conflict as approval does."""
    _check_decider(request, by)
    if not reason.strip():
        raise DomainError("Give a reason: the person who asked will read it.", code="required", attr="reason")
    with transaction.atomic():
        request.reject(by=by, reason=reason, now=now)
    return request


def _check_decider(request: QuotaRequest, by: User) -> None:
    if request.requested_by_id == by.pk and not by.is_superuser:
        raise NotAllowed("Somebody else has to decide on your own request.", code="own_request")
