"""How states of this app are coloured."""

from __future__ import annotations

from payments.choices import ContractStatus, DisputeStatus, PaymentStatus, PayoutStatus, RefundStatus, ReviewStatus

PAYMENT = {
    PaymentStatus.CREATED: "info",
    PaymentStatus.PENDING: "warning",
    PaymentStatus.SUCCEEDED: "success",
    PaymentStatus.FAILED: "danger",
    PaymentStatus.DISPUTED: "danger",
    PaymentStatus.DISPUTE_LOST: "danger",
    PaymentStatus.DISPUTE_WON: "success",
    PaymentStatus.PARTIALLY_REFUNDED: "info",
    PaymentStatus.REFUNDED: "info",
}
REFUND = {
    RefundStatus.REQUESTED: "warning",
    RefundStatus.SENDING: "warning",
    RefundStatus.UNKNOWN: "danger",
    RefundStatus.SUCCEEDED: "success",
    RefundStatus.FAILED: "danger",
}
DISPUTE = {DisputeStatus.OPEN: "warning", DisputeStatus.WON: "success", DisputeStatus.LOST: "danger"}
REVIEW = {ReviewStatus.OPEN: "warning", ReviewStatus.RESOLVED: "success"}
PAYOUT = {
    PayoutStatus.REQUESTED: "warning",
    PayoutStatus.APPROVED: "info",
    PayoutStatus.SENDING: "warning",
    PayoutStatus.UNKNOWN: "danger",
    PayoutStatus.PAID: "success",
    PayoutStatus.FAILED: "danger",
    PayoutStatus.REJECTED: "danger",
    PayoutStatus.RETURNED: "danger",
}
CONTRACT = {
    ContractStatus.DRAFT: "info",
    ContractStatus.PROPOSED: "warning",
    ContractStatus.ACTIVE: "success",
    ContractStatus.PAST_DUE: "danger",
    ContractStatus.SUSPENDED: "danger",
    ContractStatus.PAUSED: "warning",
}
