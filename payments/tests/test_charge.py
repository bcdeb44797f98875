"""Charge: rows that add up, whatever wrote them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from gaas.lib import clock
from payments.models import Charge

pytestmark = pytest.mark.django_db


def a_charge(**changes) -> Charge:
    ids = ("task_id", "attempt_id", "gpu_id", "host_id", "owner_account_id", "account_id", "payer_account_id")
    fields = {
        **{name: uuid4() for name in ids},
        "user_id": str(uuid4()),
        "kind": "script",
        "funding": "wallet",
        "price_per_hour": 1_000_000,
        "gpu_ms": 3_600_000,
        "charge": 1_000_000,
        "fee": 100_000,
        "owner_part": 900_000,
        "at": clock.now(),
    }
    return Charge.objects.create(**{**fields, **changes})


class TestCharge:
    def test_it_says_what_it_is_for(self):
        charge = a_charge()
        assert str(charge) == f"charge of 3600000 GPU-ms for {charge.task_id}"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"charge": 1_000_001},
            {"fee": 99_999},
            {"owner_part": 900_001},
            {"charge": -1, "fee": -1, "owner_part": 0},
            {"fee": -1, "owner_part": 1_000_001},
            {"gpu_ms": -1},
            {"from_loss": -1},
        ],
    )
    def test_one_that_does_not_add_up_is_refused(self, wrong):
        with pytest.raises(IntegrityError), transaction.atomic():
            a_charge(**wrong)

    def test_a_gpu_of_an_attempt_is_charged_once(self):
        first = a_charge()
        with pytest.raises(IntegrityError), transaction.atomic():
            a_charge(attempt_id=first.attempt_id, gpu_id=first.gpu_id)
        a_charge(attempt_id=first.attempt_id)
