"""What leaves the house after a commit, and what was answered to calls that may come again."""

from gaas.outbox.services.idempotency import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    begin,
    claim,
    complete,
    forget_expired_keys,
    let_go,
)
from gaas.outbox.services.mail import FIRST_WAIT, LONGEST_WAIT, deliver, post, resend_due, retry

__all__ = [
    "FIRST_WAIT",
    "LONGEST_WAIT",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "begin",
    "claim",
    "complete",
    "deliver",
    "forget_expired_keys",
    "let_go",
    "post",
    "resend_due",
    "retry",
]
