import pytest

from accounts.ledger.services import (
    InsufficientBalance,
    KeyReused,
    Leg,
    NotReversible,
    capture,
    hold,
    reverse,
    transfer,
)
from accounts.ledger.tests.conftest import state_of
from gaas.lib.errors import NotFound
from gaas.lib.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def bob(funded):
    return funded("bob", 0)


@pytest.fixture
def made(hours, bob):
    return transfer(key="t", kind="k", debit=hours, credit=bob, amount=30, ref="c1")


class TestReverse:
    def test_it_takes_the_transfer_back(self, made, hours, bob):
        back = reverse(transfer_id=made.pk, key="t:back", actor="dana", memo="typed wrong")
        assert (back.debit, back.credit, back.amount, back.kind, back.ref) == (bob, hours, 30, "reversal", "c1")
        assert made.reversed_by == back
        assert (state_of(hours), state_of(bob)) == ((100, 0), (0, 0))

    def test_case_14_twice_under_one_key_is_once(self, made, hours):
        first = reverse(transfer_id=made.pk, key="t:back")
        assert reverse(transfer_id=made.pk, key="t:back") == first
        assert state_of(hours) == (100, 0)

    def test_case_14_twice_under_two_keys_is_refused(self, made, hours):
        reverse(transfer_id=made.pk, key="t:back")
        with pytest.raises(NotReversible, match="before"):
            reverse(transfer_id=made.pk, key="t:again")
        assert state_of(hours) == (100, 0)

    def test_case_14_a_reversal_is_not_reversed(self, made):
        back = reverse(transfer_id=made.pk, key="t:back")
        with pytest.raises(NotReversible, match="new transfer"):
            reverse(transfer_id=back.pk, key="t:forth")

    def test_case_14_a_payee_who_has_spent_it_is_left_alone(self, made, bob, used, hours):
        transfer(key="spent", kind="k", debit=bob, credit=used, amount=1)
        with pytest.raises(InsufficientBalance) as refused:
            reverse(transfer_id=made.pk, key="t:back")
        assert (refused.value.needed, refused.value.available) == (30, 29)
        assert state_of(hours) == (70, 0)

    def test_case_14_a_payee_who_has_promised_it_is_left_alone(self, made, bob):
        hold(balance=bob, amount=1, key="h", purpose="task")
        with pytest.raises(InsufficientBalance):
            reverse(transfer_id=made.pk, key="t:back")

    def test_what_a_hold_captured_comes_back_as_available(self, hours, used):
        held = hold(balance=hours, amount=60, key="h", purpose="task")
        (row,) = capture(hold_id=held.pk, legs=[Leg(credit=used, amount=50, kind="usage", key="u")], final=True)
        reverse(transfer_id=row.pk, key="u:back")
        held.refresh_from_db()
        assert (held.state, held.captured) == ("captured", 50)
        assert (state_of(hours), used.total()) == ((100, 0), 0)

    def test_case_06_a_key_of_another_movement_is_refused(self, made, hours, used):
        transfer(key="taken", kind="k", debit=hours, credit=used, amount=30)
        with pytest.raises(KeyReused):
            reverse(transfer_id=made.pk, key="taken")

    def test_an_unknown_transfer_is_not_found(self):
        with pytest.raises(NotFound):
            reverse(transfer_id=uuid7(), key="x")
