"""The verbs of money that comes in and goes back. Amounts are micro-dollars."""

from payments.services.begin import AmountOutOfBounds, apply, cancel_payment, follow, start_payment
from payments.services.chain import claim_transaction
from payments.services.credit import Arrived, credit
from payments.services.debts import owed_by
from payments.services.disputes import close_dispute, open_dispute
from payments.services.earnings import mature, mature_all
from payments.services.inbox import keep_event, process_event
from payments.services.manual import (
    OwnDraft,
    ReferenceUsed,
    approve_payment,
    confirm_payment,
    record_payment,
    reject_payment,
)
from payments.services.refunds import (
    OwnRefund,
    RefundTooLarge,
    apply_refund,
    approve_refund,
    cancel_refund,
    fail_refund,
    note_foreign_refund,
    note_sent,
    request_refund,
    send_refund,
)
from payments.services.reviews import ask, resolve
from payments.services.sweep import expire_payment, sweep

__all__ = [
    "AmountOutOfBounds",
    "Arrived",
    "OwnDraft",
    "OwnRefund",
    "ReferenceUsed",
    "RefundTooLarge",
    "apply",
    "apply_refund",
    "approve_payment",
    "approve_refund",
    "ask",
    "cancel_payment",
    "cancel_refund",
    "claim_transaction",
    "close_dispute",
    "confirm_payment",
    "credit",
    "expire_payment",
    "fail_refund",
    "follow",
    "keep_event",
    "mature",
    "mature_all",
    "note_foreign_refund",
    "note_sent",
    "open_dispute",
    "owed_by",
    "process_event",
    "record_payment",
    "reject_payment",
    "request_refund",
    "resolve",
    "send_refund",
    "start_payment",
    "sweep",
]
