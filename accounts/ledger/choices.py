"""Names that the ledger's rows carry."""

from django.db import models

# Every posted, held and floor stays within ±LIMIT, every amount below it: then `posted - held`,
# `floor + amount` and all sums that a CHECK or a WHERE makes fit into 64 bits. In hours this is
# 1.2 × 10¹², in dollars 4.6 × 10¹².
LIMIT = 2**62

# The owner_key of a platform balance starts so.
PLATFORM_PREFIX = "sys:"


class AssetKind(models.TextChoices):
    HOURS = "hours", "Hours"
    CURRENCY = "currency", "Currency"


class BalanceKind(models.TextChoices):
    """The kinds that the platform uses. Not a field's choices: `clearing:<provider>` is open-ended."""

    HOURS = "hours", "Hours"
    RESERVED_HOURS = "reserved_hours", "Reserved hours"
    GRANT = "grant", "Granted hours"
    USED = "used", "Used hours"
    EXPIRED = "expired", "Expired hours"
    WALLET = "wallet", "Wallet"
    EARNINGS_PENDING = "earnings_pending", "Earnings, pending"
    EARNINGS = "earnings", "Earnings"
    DEBT = "debt", "Debt"
    FEES = "fees", "Fees"
    PROMO = "promo", "Promotions"
    LOSS = "loss", "Losses"
    SUSPENSE = "suspense", "Suspense"


class HoldState(models.TextChoices):
    """How a hold stands, and once closed, what closed it (a capture, a release, or its own time)."""

    OPEN = "open", "Open"
    CAPTURED = "captured", "Captured"
    RELEASED = "released", "Released"
    EXPIRED = "expired", "Expired"


# The kind of a transfer that `reverse` makes.
REVERSAL = "reversal"


class CheckStatus(models.TextChoices):
    """How a check of the books went."""

    RUNNING = "RUNNING", "Running"
    CLEAN = "CLEAN", "Clean"
    BROKEN = "BROKEN", "Broken"
    FAILED = "FAILED", "Not finished"


class CheckSource(models.TextChoices):
    """Who had the books checked."""

    BEAT = "beat", "By the clock"
    COMMAND = "command", "By command"
    PERSON = "person", "By a person"
