"""Where one person alone is not enough: much money, many small pieces of it, or money for oneself."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q, Sum

from accounts.choices import Role
from accounts.models import Account, User
from gaas.lib.amounts import parse_micro
from payments.choices import PayoutStatus, Provider, RefundStatus
from payments.models import Payment, Payout, Refund

DAY = timedelta(days=1)


def gains(account: Account, by: User) -> bool:
    """Tell whether somebody may spend what comes into an account, whatever key or link they act by."""
    lineage = [account.pk, *account.ancestor_ids]
    role = account.role_among(dict(by.memberships.filter(account__in=lineage).values_list("account_id", "role")))
    return role is not None and role >= Role.MEMBER


def may_credit_alone(payment: Payment, *, by: User, now: datetime) -> bool:
    """Tell whether one person's word is enough: what one person alone booked there in a day counts as one amount.

    The caller has locked the account, so that of two bookings at once the second counts the first.
    """
    alone = Payment.objects.filter(
        account=payment.account_id, provider=Provider.MANUAL, drafted_by=F("approved_by"), paid_at__gt=now - DAY
    )
    return not gains(payment.account, by) and _fits(alone.aggregate(sum=Sum("received"))["sum"], payment.amount)


def may_refund_alone(refund: Refund, *, by: User, now: datetime) -> bool:
    """Tell the same of money that goes out: all that one person alone sent back from an account in a day."""
    is_sent = Q(send_at__isnull=False) | Q(sent_at__isnull=False)
    alone = (
        Refund.objects.filter(payment__account=refund.payment.account_id, is_foreign=False, created_at__gt=now - DAY)
        .filter(Q(approved_by=F("requested_by")) | (Q(approved_by=None) & is_sent))
        .exclude(pk=refund.pk)
        .exclude(status__in=[RefundStatus.FAILED, RefundStatus.CANCELLED])
    )
    return not gains(refund.payment.account, by) and _fits(alone.aggregate(sum=Sum("amount"))["sum"], refund.amount)


def may_pay_out_alone(payout: Payout, *, by: User, now: datetime) -> bool:
    """Tell the same of earnings that one person agrees to and sends by hand; a chain is never left to one person."""
    if payout.provider != Provider.MANUAL:
        return False
    sent = Payout.objects.filter(
        account=payout.account_id, provider=Provider.MANUAL, approved_by=by, sent_by=by, sent_at__gt=now - DAY
    )
    alone = sent.exclude(pk=payout.pk).exclude(status=PayoutStatus.FAILED)
    return _fits(alone.aggregate(sum=Sum("amount"))["sum"], payout.amount)


def _fits(before: int | None, amount: int) -> bool:
    return int(before or 0) + amount <= parse_micro(settings.MANUAL_PAYMENT_LIMIT_USD)
