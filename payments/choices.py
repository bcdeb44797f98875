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


class ContractKind(models.TextChoices):
    """Allowance: hours or money for an account below. Reservation: GPU-hours of an owner at a fixed price."""

    ALLOWANCE = "allowance", "Allowance"
    RESERVATION = "reservation", "Reservation"


class ContractStatus(models.TextChoices):
    """Where a contract stands. PAST_DUE: a period could not be paid and is tried again; SUSPENDED: no more."""

    DRAFT = "DRAFT", "Draft"
    PROPOSED = "PROPOSED", "Proposed"
    ACTIVE = "ACTIVE", "Active"
    PAST_DUE = "PAST_DUE", "Past due"
    SUSPENDED = "SUSPENDED", "Suspended"
    PAUSED = "PAUSED", "Paused"
    ENDED = "ENDED", "Ended"
    DECLINED = "DECLINED", "Declined"


# Both sides agreed once, and it has not ended.
CONTRACT_RUNNING = frozenset(
    {ContractStatus.ACTIVE, ContractStatus.PAST_DUE, ContractStatus.SUSPENDED, ContractStatus.PAUSED}
)
# It runs, and only a person lets it go on.
CONTRACT_RESTING = frozenset({ContractStatus.PAUSED, ContractStatus.SUSPENDED})
# The first terms are not accepted yet.
CONTRACT_OPEN = frozenset({ContractStatus.DRAFT, ContractStatus.PROPOSED})


class Side(models.TextChoices):
    """The two of a contract: who gives the hours or the money, and who is given them or is paid."""

    PAYER = "payer", "Payer"
    PAYEE = "payee", "Payee"


class Interval(models.TextChoices):
    WEEK = "week", "Week"
    MONTH = "month", "Month"


class Shortfall(models.TextChoices):
    """What happens to a period that the payer cannot pay."""

    RETRY = "retry", "Try again, then suspend"
    SKIP = "skip", "Leave that period out"


class RollOver(models.TextChoices):
    """What happens at a period's end to what was not used."""

    KEEP = "keep", "Carried over"
    EXPIRE = "expire", "Lapses"
    RETURN = "return", "Goes back to the payer"


class CatchUp(models.TextChoices):
    """What happens to the periods that fell into a pause."""

    SKIP = "skip", "Left out"
    CHARGE = "charge", "Caught up"


class Renewal(models.TextChoices):
    """What happens at the end of a term."""

    NONE = "none", "The contract ends"
    RENEW = "renew", "Another term of the same length"


class PeriodStatus(models.TextChoices):
    PAID = "PAID", "Paid"
    SKIPPED = "SKIPPED", "Left out"


# The ledger's rows of a contract carry `contract:<id>` as ref, and its bucket of reserved hours as owner_key.
CONTRACT_PREFIX = "contract:"


class PayoutStatus(models.TextChoices):
    """Where a payout stands. UNKNOWN: the provider did not answer, so it may have been made."""

    REQUESTED = "REQUESTED", "Requested"
    APPROVED = "APPROVED", "Approved"
    SENDING = "SENDING", "Sending"
    UNKNOWN = "UNKNOWN", "Unknown"
    PAID = "PAID", "Paid"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"
    REJECTED = "REJECTED", "Rejected"
    RETURNED = "RETURNED", "Returned"


# Nothing has left; its owner may still take it back.
PAYOUT_WAITING = frozenset({PayoutStatus.REQUESTED, PayoutStatus.APPROVED})
# The earnings still hold the amount.
PAYOUT_UNDER_WAY = PAYOUT_WAITING | {PayoutStatus.SENDING, PayoutStatus.UNKNOWN}
# It left, whether or not it came back.
PAYOUT_SENT = frozenset({PayoutStatus.PAID, PayoutStatus.RETURNED})
# Somebody else than who asked for it said yes.
PAYOUT_AGREED = PAYOUT_SENT | {PayoutStatus.APPROVED, PayoutStatus.SENDING, PayoutStatus.UNKNOWN}


class StatementKind(models.TextChoices):
    """Whose view of a month a statement is."""

    ACCOUNT = "account", "Account"
    OWNER = "owner", "Owner of GPUs"
    BOOKS = "books", "The platform's books"


# What an owner earns stands on a statement of its own.
EARNING_KINDS = frozenset({"earnings_pending", "earnings"})
