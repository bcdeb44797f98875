"""Words that rows of this app may hold, shared by models, API and admin."""

from __future__ import annotations

from django.db.models import TextChoices


class EventType(TextChoices):
    """Name what a webhook may be told of; apps above tell it with `tell`."""

    TASK_SUBMITTED = "task.submitted", "A task was submitted"
    TASK_APPROVED = "task.approved", "A task was approved and waits for GPUs"
    TASK_REJECTED = "task.rejected", "A task was rejected"
    TASK_STARTED = "task.started", "The program of a task starts"
    TASK_REQUEUED = "task.requeued", "A task lost its host and waits for GPUs again"
    TASK_COMPLETED = "task.completed", "A task completed"
    TASK_FAILED = "task.failed", "A task failed"
    TASK_CANCELLED = "task.cancelled", "A task was cancelled"
    TASK_EXPIRED = "task.expired", "A task waited for too long"
    PAYMENT_SUCCEEDED = "payment.succeeded", "A payment came in"
    DISPUTE_OPENED = "dispute.opened", "A bank contests a payment"
    DISPUTE_WON = "dispute.won", "A contested payment came back"
    DISPUTE_LOST = "dispute.lost", "A contested payment stays gone"
    PAYOUT_REQUESTED = "payout.requested", "A payout was asked for"
    PAYOUT_APPROVED = "payout.approved", "Staff agreed to a payout"
    PAYOUT_REJECTED = "payout.rejected", "Staff said no to a payout"
    PAYOUT_CANCELLED = "payout.cancelled", "A payout was taken back"
    PAYOUT_PAID = "payout.paid", "A payout was sent"
    PAYOUT_FAILED = "payout.failed", "A payout was not sent"
    PAYOUT_RETURNED = "payout.returned", "A payout came back"
    CONTRACT_PROPOSED = "contract.proposed", "A contract was proposed"
    CONTRACT_ACTIVATED = "contract.activated", "Both sides accepted a contract"
    CONTRACT_DECLINED = "contract.declined", "A contract was declined or withdrawn"
    CONTRACT_PAST_DUE = "contract.past_due", "A period of a contract could not be paid"
    CONTRACT_SUSPENDED = "contract.suspended", "A contract is not tried any more"
    CONTRACT_PAUSED = "contract.paused", "A contract was paused"
    CONTRACT_RESUMED = "contract.resumed", "A contract goes on"
    CONTRACT_ENDED = "contract.ended", "A contract ended"
    STATEMENT_MADE = "statement.made", "The statement of a month is there"
    BUDGET_REACHED = "budget.reached", "80 % or 100 % of a budget is used"
    BALANCE_LOW = "balance.low", "Hours or money fell under the account's mark"
    HOST_TROUBLE = "host.trouble", "Something is wrong with a host"


# Sent when somebody asks for a trial, to whatever is listened for.
PING = "ping"


class DeliveryStatus(TextChoices):
    PENDING = "PENDING", "To be sent"
    SUCCEEDED = "SUCCEEDED", "Taken"
    FAILED = "FAILED", "Given up"
