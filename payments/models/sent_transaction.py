from __future__ import annotations

from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row


class SentTransaction(Row):
    """Note that a transaction on a chain was named for a payout or a refund; it serves one of them.

    `dropped_at`: it was given up, or another was named instead. What waits in a mempool may be mined later, so the
    chain is still asked about it at `due_at`, until it is known that it never will be. `sender` and `nonce` are known
    once a node has shown it: two transactions of one sender and one nonce are never both mined.
    """

    chain_id = models.BigIntegerField(editable=False)
    tx_hash = models.CharField(max_length=66, editable=False)
    payout = models.ForeignKey(
        "payments.Payout", on_delete=models.PROTECT, null=True, related_name="transactions", editable=False
    )
    refund = models.ForeignKey(
        "payments.Refund", on_delete=models.PROTECT, null=True, related_name="transactions", editable=False
    )
    sender = models.CharField(max_length=42, blank=True, editable=False)
    nonce = models.BigIntegerField(null=True, editable=False)
    dropped_at = models.DateTimeField(null=True, editable=False)
    due_at = models.DateTimeField(null=True, editable=False, help_text="When to ask the chain next.")

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                name="sent_transaction_serves_one", fields=["chain_id", "tx_hash"], condition=Q(dropped_at=None)
            ),
            models.CheckConstraint(
                name="sent_transaction_of_one",
                condition=Q(payout__isnull=False, refund=None) | Q(payout=None, refund__isnull=False),
            ),
            models.CheckConstraint(
                name="sent_transaction_followed_once_dropped",
                condition=Q(due_at=None) | Q(dropped_at__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["due_at"], name="sent_transaction_due", condition=Q(due_at__isnull=False))]

    def __str__(self) -> str:
        return self.tx_hash
