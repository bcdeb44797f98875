"""Drive the ledger by random verbs beside a plain Python model: they agree after every step; the books are sound."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from accounts.ledger import services as ledger
from accounts.ledger.models import Balance, Cap, Hold, Transfer
from accounts.ledger.tests.conftest import problems
from accounts.ledger.tests.model import HOURS, JUNE, LAZY, LIMITS, MAY, MONEY, Books, Moved, Promise, asset
from gaas.lib.errors import DomainError

LONG = os.environ.get("MONEY_MACHINE") == "long"
# Mostly what goes through, so that a run gets somewhere; now and then what does not.
amounts = st.sampled_from([1, 2, 3, 5, 8, 13, 21, 34, 55]) | st.integers(-1, 200)
leg_amounts = st.sampled_from([1, 1, 2, 2, 3, 5, 0, 34])
pairs = st.sampled_from(
    [(debit, credit) for group in (HOURS, MONEY) for debit in group for credit in group] + [("alice", "wallet")]
)
stored_names = st.sampled_from(["alice", "alice", "bob", "wallet", "wallet", "earnings"])
keys = st.integers(0, 40)
picks = st.integers(0, 1000)


class Ledger(Books, RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        # Each run of the machine is undone as a whole, so that the next finds the books empty.
        self.block = transaction.atomic()
        self.block.__enter__()
        self.open_books()
        self.rows = {
            name: ledger.platform_balance(asset=asset(name), kind=name)
            if name in LAZY
            else ledger.open_balance(
                asset=asset(name), kind="earnings" if name == "earnings" else "own", owner_key=name
            )
            for name in HOURS + MONEY
        }
        self.caps = {
            name: ledger.open_cap(asset="GPU", owner_key=name, starts_at=MAY, ends_at=JUNE, limit=limit)
            for name, limit in LIMITS.items()
        }

        self.fund(500, "alice")
        self.fund(50, "bob")
        self.fund(500, "wallet")
        for number, (pot, caps) in enumerate([("alice", LIMITS), ("alice", ["child"]), ("bob", []), ("wallet", [])]):
            self.promise(f"h{100 + number}", pot, 30, frozenset(caps))

    def teardown(self) -> None:
        if hasattr(self, "block"):
            try:
                assert problems() == []
            finally:
                transaction.set_rollback(True)
                self.block.__exit__(None, None, None)

    def hold_id(self, key: str) -> object:
        return Hold.objects.get(key=key).pk

    @staticmethod
    def agree(call: Callable[[], object], refusals: set[type[DomainError]]) -> bool:
        """Make the call; require one of the refusals, or none where there are none. Return whether it went through."""
        try:
            call()
        except tuple(refusals):
            return False
        assert not refusals, f"it went through, {refusals} expected"
        return True

    # --- the verbs ----------------------------------------------------------------------------------
    def fund(self, amount: int, into: str) -> None:
        source = "grant" if into in HOURS else "clearing"
        self.transfer(f"fund{len(self.moves)}", source, into, amount)

    @rule(number=keys, pair=pairs, amount=amounts)
    def move(self, number: int, pair: tuple[str, str], amount: int) -> None:
        self.transfer(f"t{number}", *pair, amount)

    def transfer(self, key: str, debit: str, credit: str, amount: int) -> None:
        moved = Moved(debit, credit, amount)
        known = self.moves.get(key)
        refusals: set[type[DomainError]]
        if amount < 1 or debit == credit:
            refusals = {ledger.InvalidAmount}
        elif asset(debit) != asset(credit):
            refusals = {ledger.AssetMismatch}
        elif known:
            refusals = set() if known == moved else {ledger.KeyReused}
        else:
            refusals = self.spendable(debit, amount) | self.receivable(credit)
        went = self.agree(
            lambda: ledger.transfer(key=key, kind="k", debit=self.rows[debit], credit=self.rows[credit], amount=amount),
            refusals,
        )
        if went and not known:
            self.book(key, moved)

    @rule(
        number=keys,
        pot=stored_names,
        amount=amounts,
        caps=st.sampled_from([frozenset(LIMITS), frozenset(LIMITS), frozenset({"child"}), frozenset()]),
    )
    def hold(self, number: int, pot: str, amount: int, caps: frozenset[str]) -> None:
        if asset(pot) == "USD" and amount % 2:
            caps = frozenset()
        self.promise(f"h{number}", pot, amount, caps)

    def promise(self, key: str, pot: str, amount: int, caps: frozenset[str]) -> None:
        known = self.promises.get(key)
        refusals: set[type[DomainError]]
        if amount < 1:
            refusals = {ledger.InvalidAmount}
        elif known:
            refusals = set() if (known.pot, known.opened_with) == (pot, amount) else {ledger.KeyReused}
        elif caps and asset(pot) == "USD":
            refusals = {ledger.AssetMismatch}
        else:
            refusals = self.spendable(pot, amount) or self.capped(caps, amount)
        went = self.agree(
            lambda: ledger.hold(
                balance=self.rows[pot],
                amount=amount,
                key=key,
                purpose="task",
                caps=[self.caps[cap] for cap in caps],
                expires_at=JUNE if int(key[1:]) % 2 else None,
            ),
            refusals,
        )
        if went and not known:
            self.pots[pot].held += amount
            self.promises[key] = Promise(pot, amount, amount, caps)

    def pick(self, number: int) -> tuple[str, Promise]:
        """Choose an open hold three times out of four, where there is one."""
        ripe = [key for key, promise in self.promises.items() if promise.state == "open" and number % 4]
        among = sorted(ripe or self.promises)
        key = among[number // 4 % len(among)]
        return key, self.promises[key]

    @rule(number=picks, amount=amounts)
    def extend(self, number: int, amount: int) -> None:
        key, promise = self.pick(number)
        if amount < 1:
            refusals: set[type[DomainError]] = {ledger.InvalidAmount}
        elif promise.state != "open":
            refusals = {ledger.HoldClosed}
        else:
            refusals = self.spendable(promise.pot, amount) or self.capped(promise.caps, amount)
        if self.agree(lambda: ledger.extend(hold_id=self.hold_id(key), amount=amount), refusals):
            promise.amount += amount
            self.pots[promise.pot].held += amount

    @rule(number=picks, amount=st.none() | amounts)
    def release(self, number: int, amount: int | None) -> None:
        key, promise = self.pick(number)
        refusals: set[type[DomainError]] = set()
        if amount is not None and amount < 1:
            refusals = {ledger.InvalidAmount}
        elif promise.state != "open" and (amount is not None or promise.state != "released"):
            refusals = {ledger.HoldClosed}
        elif amount is not None and amount > promise.rest:
            refusals = {ledger.HoldExceeded}
        if self.agree(lambda: ledger.release(hold_id=self.hold_id(key), amount=amount), refusals):
            self.give_back(promise, promise.rest if amount is None else amount)
            promise.state = "released" if amount is None else "open"

    def expire(self, number: int) -> None:
        key, promise = self.pick(number)
        is_late = bool(number % 3)
        has_end = int(key[1:]) % 2 == 1
        expected = promise.state == "open" and has_end and is_late
        assert ledger.expire(hold_id=self.hold_id(key), now=JUNE if is_late else MAY) is expected
        if expected:
            self.give_back(promise, promise.rest)
            promise.state = "expired"

    @rule(
        number=picks,
        parts=st.lists(st.tuples(keys, st.integers(0, 19), leg_amounts), max_size=3, unique_by=lambda part: part[0]),
        final=st.booleans(),
    )
    def capture(self, number: int, parts: list[tuple[int, int, int]], final: bool) -> None:
        key, promise = self.pick(number)
        group = HOURS if asset(promise.pot) == "GPU" else MONEY
        payees = [name for name in group if name != promise.pot]
        # Eighteen legs out of twenty name somebody who can be paid.
        legs = [(f"c{part}", (*payees * 6, promise.pot, "used")[which], amount) for part, which, amount in parts]
        self.pay(key, promise, legs, final)

    @rule(number=picks)
    def finish(self, number: int) -> None:
        key, promise = self.pick(number)
        payee = "used" if asset(promise.pot) == "GPU" else "fees"
        self.pay(key, promise, [(f"f:{key}", payee, 1 + number % 20)], final=True)

    @rule(number=picks, final=st.booleans())
    def once_more(self, number: int, final: bool) -> None:
        """Ask again for something that went through before."""
        key = sorted([*self.moves, *self.promises])[number % (len(self.moves) + len(self.promises))]
        moved = self.moves.get(key)
        if moved is None:
            promise = self.promises[key]
            self.promise(key, promise.pot, promise.opened_with, promise.caps)
        elif moved.promise:
            self.pay(moved.promise, self.promises[moved.promise], [(key, moved.credit, moved.amount)], final)
        elif not moved.reverses:
            self.transfer(key, moved.debit, moved.credit, moved.amount)

    def pay(self, key: str, promise: Promise, legs: list[tuple[str, str, int]], final: bool) -> None:
        total = sum(amount for _, _, amount in legs)
        wanted = {leg_key: Moved(promise.pot, name, amount, promise=key) for leg_key, name, amount in legs}
        known = [leg_key for leg_key in wanted if leg_key in self.moves]
        refusals: set[type[DomainError]] = set()
        if len(wanted) < len(legs):
            refusals = {ledger.KeyReused}
        elif any(amount < 1 for _, _, amount in legs):
            refusals = {ledger.InvalidAmount}
        elif any(name == promise.pot for _, name, _ in legs) or any(
            asset(name) != asset(promise.pot) for _, name, _ in legs
        ):
            refusals = {ledger.InvalidAmount, ledger.AssetMismatch}
        elif known:
            is_same = all(self.moves.get(leg_key) == moved for leg_key, moved in wanted.items())
            refusals = {ledger.KeyReused} if not is_same or (final and promise.state == "open") else set()
        elif not legs:
            refusals = {ledger.HoldClosed} if final and promise.state not in ("open", "released") else set()
        elif promise.state != "open":
            refusals = {ledger.HoldClosed}
        elif total > promise.rest:
            refusals = {ledger.HoldExceeded}
        else:
            refusals = set().union(*(self.receivable(name) for _, name, _ in legs))
        went = self.agree(
            lambda: ledger.capture(
                hold_id=self.hold_id(key),
                legs=[
                    ledger.Leg(credit=self.rows[name], amount=amount, kind="k", key=leg_key)
                    for leg_key, name, amount in legs
                ],
                final=final,
            ),
            refusals,
        )
        if went and not known:
            for leg_key, moved in wanted.items():
                self.book(leg_key, moved)
            promise.captured += total
            self.pots[promise.pot].held -= total
            if final:
                self.give_back(promise, promise.rest)
                promise.state = "captured" if legs else "released"

    @rule(number=picks, again=keys)
    def reverse(self, number: int, again: int) -> None:
        original_key = sorted(self.moves)[number % len(self.moves)]
        original = self.moves[original_key]
        key = f"r{again}"
        wanted = Moved(original.credit, original.debit, original.amount, reverses=original_key)
        known = self.moves.get(key)
        refusals: set[type[DomainError]]
        if known:
            refusals = set() if known == wanted else {ledger.KeyReused}
        elif original.reverses or any(moved.reverses == original_key for moved in self.moves.values()):
            refusals = {ledger.NotReversible}
        else:
            refusals = self.spendable(original.credit, original.amount) | self.receivable(original.debit)
        transfer_id = Transfer.objects.get(key=original_key).pk
        if self.agree(lambda: ledger.reverse(transfer_id=transfer_id, key=key), refusals) and not known:
            self.book(key, wanted)

    @rule(what=st.integers(0, 4), number=picks)
    def seldom(self, what: int, number: int) -> None:
        """Do one of what happens now and then, or little else would."""
        if what == 0:
            self.freeze(("bob", "fees", "wallet", "earnings")[number % 4], bool(number & 4), bool(number & 8))
        elif what == 1:
            self.set_limit(sorted(LIMITS)[number % 2], number % 250)
        elif what == 2:
            self.expire(number)
        elif what == 3:
            self.fund(1 + number % 200, ("alice", "bob", "wallet")[number % 3])
        else:
            ledger.take_snapshot()

    def freeze(self, name: str, incoming: bool, outgoing: bool) -> None:
        ledger.freeze(balance=self.rows[name], incoming=incoming, outgoing=outgoing)
        self.pots[name].frozen_in, self.pots[name].frozen_out = incoming, outgoing

    def set_limit(self, name: str, limit: int) -> None:
        refusals: set[type[DomainError]] = {ledger.InvalidAmount} if limit < self.used_of(name) else set()
        if self.agree(lambda: ledger.set_limit(cap=self.caps[name], limit=limit), refusals):
            self.limits[name] = limit

    # --- what holds after every step ------------------------------------------------------------------
    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "pots"):
            return
        for row in Balance.objects.filter(pk__in=[row.pk for row in self.rows.values()]):
            name = row.kind if row.is_lazy else row.owner_key
            assert (row.total(), row.held) == (self.pots[name].posted, self.pots[name].held), name
        stored = {row.key: (row.amount, row.captured, row.released, row.state) for row in Hold.objects.all()}
        assert stored == {
            key: (promise.amount, promise.captured, promise.released, promise.state)
            for key, promise in self.promises.items()
        }
        assert set(Transfer.objects.values_list("key", flat=True)) == set(self.moves)
        for cap in Cap.objects.all():
            assert (cap.used, cap.limit) == (self.used_of(cap.owner_key), self.limits[cap.owner_key])

    @invariant()
    def the_books_are_sound(self) -> None:
        """Ask at each fifth step, and at the end; it costs as much as all else, and the model is asked at each step."""
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps % 5 == 0:
            assert problems() == []


@pytest.mark.django_db
def test_the_ledger_and_its_model_agree_whatever_is_done() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=300 if LONG else 15,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
