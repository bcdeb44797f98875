"""One address, registered by many at once."""

from __future__ import annotations

from functools import partial

import pytest

from accounts import services
from accounts.ledger.tests.conftest import race
from accounts.models import Account, User
from accounts.services import balances_of
from gaas.tests.cast import PASSWORD

HOUR = 3_600_000


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_of_sixteen_parallel_ones_one_makes_a_user():
    spellings = ["eve@example.test", "EVE@example.test", "Eve@Example.Test", " eve@example.test"]
    outcomes = race(
        *(
            partial(services.register, email=spellings[n % 4], password=f"{PASSWORD} {n}", name=f"Eve {n}")
            for n in range(16)
        )
    )
    eve = User.objects.get(email="eve@example.test")
    assert [one for one in outcomes if one is not None] == [eve]
    assert Account.objects.filter(person=eve).count() == 1
    assert balances_of(eve.personal_account).hours_available == 10 * HOUR
