"""Words that rows of this app may hold, shared by models, API and admin."""

from __future__ import annotations

from django.db import models


class Provider(models.TextChoices):
    """Through whom money comes in or goes out."""

    STRIPE = "stripe", "Stripe"
    ONCHAIN = "onchain", "On-chain"
    MANUAL = "manual", "Manual"


class PaymentStatus(models.TextChoices):
    """Where a payment stands. A success that comes after FAILED, CANCELLED or EXPIRED still counts."""

    CREATED = "CREATED", "Created"
    PENDING = "PENDING", "Pending"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"
    EXPIRED = "EXPIRED", "Expired"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED", "Partially refunded"
    REFUNDED = "REFUNDED", "Refunded"
    DISPUTED = "DISPUTED", "Disputed"
    DISPUTE_WON = "DISPUTE_WON", "Dispute won"
    DISPUTE_LOST = "DISPUTE_LOST", "Dispute lost"


# Nothing came in yet, and it still may without anybody's surprise.
PAYMENT_OPEN = frozenset({PaymentStatus.CREATED, PaymentStatus.PENDING})
# Nothing came in, and nothing is expected.
PAYMENT_MISSED = frozenset({PaymentStatus.FAILED, PaymentStatus.CANCELLED, PaymentStatus.EXPIRED})
# Money came in.
PAYMENT_PAID = frozenset(PaymentStatus) - PAYMENT_OPEN - PAYMENT_MISSED
# What a refund can still be taken from.
PAYMENT_REFUNDABLE = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.DISPUTE_WON})


class RefundStatus(models.TextChoices):
    """Where a refund stands. UNKNOWN: the provider did not answer, so it may have been made."""

    REQUESTED = "REQUESTED", "Requested"
    SENDING = "SENDING", "Sending"
    UNKNOWN = "UNKNOWN", "Unknown"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"


# The wallet still holds the amount.
REFUND_UNDER_WAY = frozenset({RefundStatus.REQUESTED, RefundStatus.SENDING, RefundStatus.UNKNOWN})


class DisputeStatus(models.TextChoices):
    OPEN = "OPEN", "Open"
    WON = "WON", "Won"
    LOST = "LOST", "Lost"


class ReviewStatus(models.TextChoices):
    OPEN = "OPEN", "Open"
    RESOLVED = "RESOLVED", "Resolved"


class ReviewOutcome(models.TextChoices):
    """What was done with money that did not fit."""

    CREDITED = "credited", "Credited to the account"
    RETURNED = "returned", "Sent back"
    KEPT = "kept", "Nothing to move"
