"""What leaves the house after a commit, and what was answered to calls that may come again."""

from gaas.outbox.services.idempotency import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    begin,
    claim,
    complete,
    forget_expired_keys,
    hold,
    let_go,
)
from gaas.outbox.services.mail import FIRST_WAIT, LONGEST_WAIT, deliver, post, resend_due, retry
from gaas.outbox.services.once import SentBefore, once
from gaas.outbox.services.webhooks import tell

__all__ = [
    "FIRST_WAIT",
    "LONGEST_WAIT",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "SentBefore",
    "begin",
    "claim",
    "complete",
    "deliver",
    "forget_expired_keys",
    "hold",
    "let_go",
    "once",
    "post",
    "resend_due",
    "retry",
    "tell",
]
