from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.lib.rows import Row
from payments.choices import CatchUp, PeriodStatus, Renewal, RollOver, Shortfall, Side


class ContractTerms(Row):
    """State what both sides accept: one version, never changed.

    `amount` is what each period gives: GPU-milliseconds or micro-dollars by `asset`. `price` is what it costs in
    micro-dollars, 0 for an allowance. From period `effective_no` on they are in force, once both sides accepted.
    """

    contract = models.ForeignKey("payments.Contract", on_delete=models.PROTECT, related_name="terms", editable=False)
    version = models.PositiveIntegerField(editable=False)
    asset = models.ForeignKey("ledger.Asset", on_delete=models.PROTECT, related_name="+", editable=False)
    amount = models.BigIntegerField(editable=False)
    price = models.BigIntegerField(default=0, editable=False, help_text="Micro-dollars a period.")
    fee_basis_points = models.PositiveSmallIntegerField(default=0, editable=False)
    gpu_model = models.CharField(max_length=100, blank=True, editable=False)
    labels = models.JSONField(default=dict, blank=True, editable=False)
    ends_on = models.DateField(null=True, blank=True, editable=False, help_text="No period begins on it or later.")
    renewal = models.CharField(max_length=5, choices=Renewal, default=Renewal.NONE, editable=False)
    shortfall = models.CharField(max_length=5, choices=Shortfall, default=Shortfall.RETRY, editable=False)
    roll_over = models.CharField(max_length=6, choices=RollOver, default=RollOver.KEEP, editable=False)
    catch_up = models.CharField(max_length=6, choices=CatchUp, default=CatchUp.SKIP, editable=False)

    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False
    )
    proposed_side = models.CharField(max_length=5, choices=Side, editable=False)
    payer_accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    payer_accepted_at = models.DateTimeField(null=True, editable=False)
    payee_accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    payee_accepted_at = models.DateTimeField(null=True, editable=False)
    declined_at = models.DateTimeField(null=True, editable=False, help_text="Or replaced by another proposal.")
    effective_no = models.PositiveIntegerField(null=True, editable=False)
    renewals = models.PositiveIntegerField(default=0, editable=False)

    class Meta(Row.Meta):
        verbose_name = "terms of a contract"
        verbose_name_plural = "terms of contracts"
        constraints = [
            models.UniqueConstraint(name="contract_terms_once", fields=["contract", "version"]),
            models.CheckConstraint(name="contract_terms_of_some", condition=Q(amount__gt=0, price__gte=0)),
            models.CheckConstraint(
                name="contract_terms_bind_both",
                condition=Q(effective_no__isnull=True)
                | Q(payer_accepted_at__isnull=False, payee_accepted_at__isnull=False, declined_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version}"

    @property
    def is_waiting(self) -> bool:
        """Tell whether somebody still has to accept them."""
        return self.effective_no is None and self.declined_at is None

    @property
    def fee(self) -> int:
        """Give what the platform keeps of each period's price."""
        return self.price * self.fee_basis_points // 10_000

    @property
    def shown_amount(self) -> str:
        return self.asset.show(self.amount)

    def has_accepted(self, side: str) -> bool:
        return getattr(self, f"{side}_accepted_at") is not None


class ContractPeriod(Row):
    """Record that one period was processed: what it gave, what it cost, what of it lapsed.

    Amounts as in the terms. `ends_at` is when what is left of it is closed: as it ends, or one period's length after
    it was opened where that was late. What could not be closed then is looked at again at `again_at`. `lapsed` went
    away or back at that.
    """

    contract = models.ForeignKey("payments.Contract", on_delete=models.PROTECT, related_name="periods", editable=False)
    no = models.PositiveIntegerField(editable=False)
    terms = models.ForeignKey(ContractTerms, on_delete=models.PROTECT, related_name="+", editable=False)
    status = models.CharField(max_length=7, choices=PeriodStatus, editable=False)
    reason = models.TextField(blank=True, editable=False)
    due_at = models.DateTimeField(editable=False)
    opened_at = models.DateTimeField(editable=False)
    ends_at = models.DateTimeField(null=True, blank=True, editable=False)
    again_at = models.DateTimeField(null=True, blank=True, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    amount = models.BigIntegerField(default=0, editable=False)
    price = models.BigIntegerField(default=0, editable=False)
    fee = models.BigIntegerField(default=0, editable=False)
    owner_part = models.BigIntegerField(default=0, editable=False)
    lapsed = models.BigIntegerField(default=0, editable=False)
    carried = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="How often it was carried on, since its owner was away."
    )

    class Meta(Row.Meta):
        verbose_name = "period of a contract"
        verbose_name_plural = "periods of contracts"
        constraints = [
            models.UniqueConstraint(name="contract_period_once", fields=["contract", "no"]),
            models.CheckConstraint(
                name="contract_period_adds_up",
                condition=Q(price=F("fee") + F("owner_part"), fee__gte=0, owner_part__gte=0, lapsed__gte=0),
            ),
            models.CheckConstraint(
                name="contract_period_gives_if_paid",
                condition=Q(status=PeriodStatus.PAID, amount__gt=0, ends_at__isnull=False)
                | Q(status=PeriodStatus.SKIPPED, amount=0, price=0, lapsed=0, ends_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"period {self.no}"

    @property
    def ref(self) -> str:
        """Begin the keys of this period's transfers, and name their group."""
        return f"{self.contract.ref}:{self.no}"

    def key(self, leg: str) -> str:
        return f"{self.ref}:{leg}"
