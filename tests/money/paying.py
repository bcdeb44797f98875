"""Money that comes in and goes back, is contested, shared, earned and paid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from accounts.choices import CapPeriod
from accounts.ledger.services import take_snapshot
from accounts.services import fund, reclaim, set_cap
from gaas.lib.ids import uuid7
from payments import services as money
from payments.models import Payment, Payout, Refund
from tests.money.house import Draw, House, picks
from tests.money.model import HOUR, PAYOUT_FEE, USD

UNDER_WAY = ("REQUESTED", "APPROVED", "SENDING")


@dataclass
class Back:
    """A refund as the model sees it."""

    row: Refund
    amount: int
    status: str = "REQUESTED"


@dataclass
class Contested:
    name: str
    amount: int


@dataclass
class Paid:
    """A payment as the model sees it."""

    pk: Any
    whose: str
    provider: str
    received: int
    backs: list[Back] = field(default_factory=list)
    lost: int = 0
    open: list[Contested] = field(default_factory=list)

    @property
    def source(self) -> str:
        return f"clearing:{self.provider}"

    @property
    def sums(self) -> list[int]:
        """Give what was received, refunded, is being refunded, and is or stays contested."""
        by = {status: sum(b.amount for b in self.backs if b.status == status) for status in ("SUCCEEDED", "REQUESTED")}
        return [self.received, by["SUCCEEDED"], by["REQUESTED"], self.lost + sum(c.amount for c in self.open)]

    @property
    def left(self) -> int:
        received, *gone = self.sums
        return received - sum(gone)


@dataclass
class Out:
    """A payout as the model sees it."""

    pk: Any
    amount: int
    status: str = "REQUESTED"
    returned: int = 0


class Paying(House):
    def pay_in(self) -> None:
        """Take over the payment by which the lab began, of which its desk has a part."""
        self.payments: list[Paid] = []
        self.payouts: list[Out] = []
        self.given = {"wallet": 50 * USD, "hours": 0}
        self.cap_of_desk: int | None = None
        for row in Payment.objects.all():
            self.payments.append(Paid(row.pk, "lab", row.provider, 500 * USD))
        self._pay_in("owner", 20)

    def top_up(self, draw: Draw) -> None:
        self._pay_in(draw(st.sampled_from(["lab", "lab", "owner"])), draw(st.sampled_from([1, 20, 90, 400])))

    def _pay_in(self, whose: str, usd: int) -> None:
        who = self.payer if whose == "lab" else self.owner
        self.month._top_up(who, usd)
        row = Payment.objects.exclude(pk__in=[paid.pk for paid in self.payments]).get()
        self.payments.append(Paid(row.pk, whose, row.provider, usd * USD))
        self.books.come(whose, self.payments[-1].source, usd * USD)

    # --- refunds and disputes -------------------------------------------------------------------------------
    def refund(self, draw: Draw) -> None:
        """Do what was drawn where there is a refund for it; else ask for one."""
        number = draw(picks)
        what = draw(st.sampled_from(["ask", "ask", "send", "send", "cancel", "fail", "elsewhere"]))
        usd = draw(st.sampled_from([1, 7, 60, 300]))
        if what == "elsewhere":
            self.refund_elsewhere(number)
        elif what in ("send", "cancel") and self._backs("REQUESTED"):
            self.end_refund(number, what)
        elif what == "fail" and self._backs("SUCCEEDED"):
            self.refund_comes_back(number)
        else:
            self.ask_back(number, usd)

    def _backs(self, status: str) -> list[tuple[Paid, Back]]:
        return [(paid, back) for paid in self.payments for back in paid.backs if back.status == status]

    def ask_back(self, number: int, usd: int) -> None:
        paid, amount = self.pick(self.payments, number), usd * USD
        about = {"payment_id": paid.pk, "amount": amount, "reason": "Back", "by": self.root, "now": self.now()}
        asked = self.goes(money.request_refund, **about)
        if asked is not None:
            assert amount <= min(paid.left, self.books.free(f"{paid.whose} wallet"))
            self.books.held[f"{paid.whose} wallet"] += amount
            paid.backs.append(Back(asked, amount))

    def end_refund(self, number: int, how: str) -> None:
        paid, back = self.pick(self._backs("REQUESTED"), number)
        wallet, row = f"{paid.whose} wallet", Refund.objects.get(pk=back.row.pk)
        if how == "cancel":
            money.cancel_refund(refund=row, by=self.root, reason="Kept", now=self.now())
            back.status = "CANCELLED"
        else:
            if paid.provider == "manual":
                money.note_sent(refund=row, reference=f"B-{uuid7()}", by=self.second, now=self.now())
            else:
                if row.send_at is None:
                    money.approve_refund(refund=row, by=self.second, now=self.now())
                self.wait(1)
                money.send_refund(refund_id=row.pk, now=self.now())
            back.status = "SUCCEEDED"
            self.books.move(wallet, paid.source, back.amount)
        self.books.held[wallet] -= back.amount

    def refund_comes_back(self, number: int) -> None:
        """Have the bank say that it could not deliver what it had taken."""
        paid, back = self.pick(self._backs("SUCCEEDED"), number)
        money.fail_refund(refund_id=back.row.pk, detail="Account closed", now=self.now())
        back.status = "FAILED"
        self.books.come(paid.whose, paid.source, back.amount)

    def refund_elsewhere(self, number: int) -> None:
        """Have somebody send money back at the provider, past the platform."""
        paid = self.pick(self.payments, number)
        amount = paid.left // 2
        about = {"payment_id": paid.pk, "provider_id": f"re_{uuid7()}", "amount": amount, "now": self.now()}
        row = money.note_foreign_refund(**about)
        if row is not None:
            paid.backs.append(Back(row, amount, "SUCCEEDED"))
            self.books.take_back(paid.whose, paid.source, amount)

    def dispute(self, draw: Draw) -> None:
        """End one that is open as it was drawn; else contest a payment."""
        number = draw(picks)
        part = draw(st.sampled_from([1, 1, 2]))
        end = draw(st.sampled_from(["", "won", "lost", "won twice"]))
        if end and any(paid.open for paid in self.payments):
            self.judge(number, won=end != "lost", twice=end == "won twice")
        else:
            self.contest(number, part)

    def contest(self, number: int, part: int) -> None:
        paid = self.pick(self.payments, number)
        waiting = [back for back in paid.backs if back.status == "REQUESTED"]
        amount = (paid.left + sum(back.amount for back in waiting)) // part
        name = f"dp_{uuid7()}"
        about = {"provider_id": name, "amount": amount, "reason": "fraudulent", "now": self.now()}
        if amount > paid.left:
            # What was asked for and not sent gives way.
            for back in waiting:
                back.status = "CANCELLED"
                self.books.held[f"{paid.whose} wallet"] -= back.amount
        opened = money.open_dispute(payment_id=paid.pk, **about)
        assert (opened is not None) is (amount > 0)
        if opened is not None:
            paid.open.append(Contested(name, amount))
            self.books.take_back(paid.whose, paid.source, amount)

    def judge(self, number: int, *, won: bool, twice: bool) -> None:
        paid, dispute = self.pick([(paid, dispute) for paid in self.payments for dispute in paid.open], number)
        for _ in range(2 if twice else 1):
            money.close_dispute(provider_id=dispute.name, won=won, now=self.now())
        paid.open.remove(dispute)
        if won:
            self.books.come(paid.whose, paid.source, dispute.amount)
        else:
            paid.lost += dispute.amount

    # --- shares and caps ------------------------------------------------------------------------------------
    def keep_house(self, draw: Draw) -> None:
        what = draw(st.sampled_from(["give", "give", "take", "cap", "seal"]))
        asset = draw(st.sampled_from(["USD", "GPU"]))
        amount = draw(st.integers(1, 90))
        if what == "seal":
            # From here on nothing of what was booked may change.
            take_snapshot()
        elif what == "cap":
            self.cap(1 + amount % 12)
        else:
            self.share(asset, amount, back=what == "take")

    def share(self, asset: str, amount: int, *, back: bool) -> None:
        kind, units = ("wallet", amount * USD) if asset == "USD" else ("hours", amount * HOUR)
        about = {"asset": asset, "amount": units, "by": self.payer["user"], "key": str(uuid7())}
        lab, desk = self.accounts["lab"], self.accounts["desk"]
        source, target = (f"desk {kind}", f"lab {kind}") if back else (f"lab {kind}", f"desk {kind}")
        free = self.books.free(source)
        if back:
            went = self.goes(reclaim, account=lab, source=desk, **about)
        else:
            went = self.goes(fund, account=lab, to=desk, **about)
        # To give takes no more than what is free; to take back, no more than was given either.
        assert bool(went) is (free >= units) or (back and not went)
        if went:
            self.given[kind] += -units if back else units
            assert not back or self.given[kind] >= 0
            self.books.move(source, target, units)

    def cap(self, hours: int) -> None:
        about = {"asset": "GPU", "period": CapPeriod.TOTAL, "limit": hours * HOUR, "by": self.payer["user"]}
        if self.goes(set_cap, account=self.accounts["desk"], now=self.now(), **about) is not None:
            self.cap_of_desk = hours * HOUR

    # --- owners ---------------------------------------------------------------------------------------------
    def pay_out(self, draw: Draw) -> None:
        """Bring a payout on, refuse it or have it come back, as was drawn; else ask for one."""
        number = draw(picks)
        what = draw(st.sampled_from(["ask", "on", "on", "on", "on", "no", "return"]))
        usd = draw(st.sampled_from([5, 10, 20, 60]))
        part = draw(st.integers(1, 3))
        if what == "return" and any(out.status == "PAID" for out in self.payouts):
            self.payout_comes_back(number, part)
        elif what in ("on", "no") and any(out.status in UNDER_WAY for out in self.payouts):
            self.bring_payout_on(number, is_refused=what == "no")
        else:
            self.mature()
            self.ask_out(usd)

    def mature(self) -> None:
        money.mature_all(now=self.now())
        # What the database stamped is of today, however far this clock has run.
        if self.ahead > timedelta(days=7, hours=1):
            self.books.move("owner earnings_pending", "owner earnings", self.books.has["owner earnings_pending"])

    def ask_out(self, usd: int) -> None:
        about = {"destination": self.owner["destination"], "amount": usd * USD, "by": self.owner["user"]}
        asked = self.goes(money.request_payout, now=self.now(), **about)
        free = self.books.free("owner earnings") + min(0, self.books.has["owner debt"])
        assert bool(asked) is (usd >= 10 and free >= usd * USD)
        if asked is not None:
            self.books.held["owner earnings"] += usd * USD
            self.payouts.append(Out(asked.pk, usd * USD))

    def bring_payout_on(self, number: int, *, is_refused: bool) -> None:
        out = self.pick([out for out in self.payouts if out.status in UNDER_WAY], number)
        row, now = Payout.objects.get(pk=out.pk), self.now()
        if is_refused:
            if out.status == "SENDING":
                money.give_up_payout(payout=row, reason="Lost", by=self.root, now=now)
                out.status = "FAILED"
            elif out.status == "REQUESTED" and number % 2:
                money.reject_payout(payout=row, by=self.root, reason="No", now=now)
                out.status = "REJECTED"
            else:
                money.cancel_payout(payout=row, by=self.owner["user"], now=now)
                out.status = "CANCELLED"
            self.books.held["owner earnings"] -= out.amount
        elif out.status == "REQUESTED":
            money.approve_payout(payout=row, by=self.root, now=now)
            out.status = "APPROVED"
        elif out.status == "APPROVED":
            money.begin_sending(payout=row, by=self.second, now=now)
            out.status = "SENDING"
        else:
            money.note_payout_sent(payout=row, reference=f"P-{uuid7()}", by=self.second, now=now)
            out.status = "PAID"
            self.books.held["owner earnings"] -= out.amount
            self.books.move("owner earnings", "fees", PAYOUT_FEE)
            self.books.move("owner earnings", "clearing:manual", out.amount - PAYOUT_FEE)

    def payout_comes_back(self, number: int, part: int) -> None:
        out = self.pick([out for out in self.payouts if out.status == "PAID"], number)
        total = (out.amount - PAYOUT_FEE) // part
        about = {"total": total, "reason": "No such account", "by": self.root, "now": self.now()}
        money.note_payout_returned(payout_id=out.pk, **about)
        out.status = "RETURNED"
        self.books.move("clearing:manual", "owner earnings", total)
