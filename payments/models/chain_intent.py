from __future__ import annotations

from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row


class ChainIntent(Row):
    """Bind a payment to what will be seen on a chain: this many units, to this address, after this block.

    `units` are the smallest of the coin or token and more than 64 bits hold, so they are kept as digits. They are
    like no other open payment's: whoever pastes the hash of somebody else's transaction has not paid these.
    """

    payment = models.OneToOneField("payments.Payment", on_delete=models.PROTECT, related_name="chain")
    chain_id = models.BigIntegerField()
    token = models.CharField(max_length=42, blank=True, help_text="The token's contract; empty for the chain's coin.")
    symbol = models.CharField(max_length=20)
    receiver = models.CharField(max_length=42)
    units = models.CharField(max_length=78)
    from_block = models.BigIntegerField(null=True, blank=True, help_text="What was mined before it is not meant.")
    searched_to = models.BigIntegerField(null=True, blank=True)
    tx_hash = models.CharField(max_length=66, blank=True, help_text="As the payer gave it, or as it was found.")
    confirmations = models.IntegerField(default=0)
    problem = models.CharField(max_length=300, blank=True, help_text="Why this transaction is not the payment.")
    is_open = models.BooleanField(default=True)

    class Meta(Row.Meta):
        verbose_name = "intent on a chain"
        verbose_name_plural = "intents on chains"
        constraints = [
            models.UniqueConstraint(
                fields=["chain_id", "token", "receiver", "units"],
                name="chain_intent_units_of_one",
                condition=Q(is_open=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.units} units of {self.symbol} on chain {self.chain_id}"
