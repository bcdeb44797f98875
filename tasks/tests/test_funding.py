"""What a task holds and is charged, as arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaas.lib.amounts import MS_PER_HOUR
from tasks.funding import RULES, Usage

quota, wallet = RULES["quota"], RULES["wallet"]

prices = st.integers(0, 10**9)
limits = st.integers(1, 168 * MS_PER_HOUR)


@st.composite
def runs(draw, most_price=10**9):
    """Attempts of a gang whose charged time keeps to the limit and whose prices keep to the ceiling."""
    gpus, limit, ceiling = draw(st.integers(1, 8)), draw(limits), draw(st.integers(1, most_price))
    usages, left = [], limit
    for attempt in range(draw(st.integers(0, 4))):
        pays, ms = draw(st.booleans()), draw(st.integers(0, left))
        left -= ms if pays else 0
        usages += [
            Usage(attempt, gpu, "owner", "host", ms, draw(st.integers(0, ceiling)), payer_pays=pays)
            for gpu in range(gpus)
        ]
    return gpus, limit, ceiling, usages


class TestWallet:
    @given(runs(), st.integers(0, 10_000))
    def test_charge_is_fee_plus_owners_part_and_the_formula(self, run, basis_points):
        gpus, limit, ceiling, usages = run
        held = wallet.to_hold(gpus=gpus, limit_ms=limit, price_ceiling=ceiling)

        charged = wallet.charge(usages, held=held, fee_basis_points=basis_points)

        assert len(charged) == len(usages)
        for row in charged:
            worth = row.usage.price_per_hour * row.usage.gpu_ms // MS_PER_HOUR
            fee = worth * basis_points // 10_000
            assert row.charge == row.fee + row.owner_part
            assert (row.charge, row.fee, row.from_loss) == (
                (worth, fee, 0) if row.usage.payer_pays else (0, 0, worth - fee)
            )
            assert min(row.fee, row.owner_part, row.from_loss) >= 0

    @given(runs(), st.integers(0, 10_000))
    def test_what_is_captured_is_within_the_hold(self, run, basis_points):
        gpus, limit, ceiling, usages = run
        held = wallet.to_hold(gpus=gpus, limit_ms=limit, price_ceiling=ceiling)
        charged = wallet.charge(usages, held=held, fee_basis_points=basis_points)
        assert 0 <= wallet.captured(charged) <= held

    @given(runs(), st.integers(0, 10**6))
    def test_a_hold_that_is_too_small_is_never_overdrawn(self, run, held):
        *_, usages = run
        charged = wallet.charge(usages, held=held, fee_basis_points=1_000)
        assert wallet.captured(charged) <= held
        assert all(row.charge == row.fee + row.owner_part for row in charged)

    @given(st.integers(1, 64), limits, prices)
    def test_the_hold_is_the_exact_price_rounded_up(self, gpus, limit, price):
        exact = Fraction(price * gpus * limit, MS_PER_HOUR)
        held = wallet.to_hold(gpus=gpus, limit_ms=limit, price_ceiling=price)
        assert exact <= held < exact + 1

    def test_it_needs_a_ceiling(self):
        with pytest.raises(ValueError):
            wallet.to_hold(gpus=1, limit_ms=1, price_ceiling=None)


class TestQuota:
    @given(runs())
    def test_hours_are_charged_as_they_ran_and_owners_get_none(self, run):
        gpus, limit, _, usages = run
        held = quota.to_hold(gpus=gpus, limit_ms=limit, price_ceiling=None)

        charged = quota.charge(usages, held=held, fee_basis_points=1_000)

        assert held == gpus * limit
        assert quota.captured(charged) == sum(usage.gpu_ms for usage in usages if usage.payer_pays) <= held
        assert all((row.charge, row.fee, row.owner_part, row.from_loss) == (0, 0, 0, 0) for row in charged)

    @given(runs(), st.integers(0, 10**6))
    def test_overrun_is_never_charged(self, run, held):
        *_, usages = run
        assert quota.captured(quota.charge(usages, held=held, fee_basis_points=0)) <= held
