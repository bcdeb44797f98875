"""Contracts: agreed on, brought on at any time and by any clock, paused, changed and ended."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import strategies as st

from payments import services as money
from payments.models import Contract
from tests.money.house import Draw, House
from tests.money.model import HOUR, USD, Deal, Terms

RESERVED = 70_000_001  # for two hours a week
numbers = st.integers(0, 2)


class Agreeing(House):
    def agree(self, data: st.DataObject) -> None:
        """Make a reservation and an allowance of money beside the allowance of hours that the lab began with."""
        self.seen_at: datetime = self.now()  # when a host of the owner was heard last
        first = Contract.objects.get()
        self.deals = [
            Deal(first.pk, "lab hours", "desk hours", first.anchor_on, False, [Terms(5 * HOUR, 0)]),
        ]
        policies = {
            "catch_up": data.draw(st.sampled_from(["skip", "charge"])),
            "shortfall": data.draw(st.sampled_from(["retry", "retry", "skip"])),
        }
        roll_over = data.draw(st.sampled_from(["expire", "keep"]))
        today = self.now().date()
        self._agreed("reservation", "owner", Terms(2 * HOUR, RESERVED), today, "week", roll_over=roll_over, **policies)
        # On the 31st, or what a month has of it.
        anchor = date(today.year - 1, 12, 31)
        self._agreed(
            "allowance", "desk", Terms(7 * USD, 0), anchor, "month", asset="USD", roll_over="return", **policies
        )

    def _agreed(
        self, kind: str, payee: str, terms: Terms, anchor: date, interval: str, *, asset: str = "GPU", **policies: str
    ) -> None:
        wanted = money.ContractWanted(
            kind=kind,
            title="Deal",
            payer=self.accounts["lab"],
            payee=self.accounts[payee],
            starts_on=self.now().date(),
            anchor_on=anchor,
            interval=interval,
        )
        told = money.TermsWanted(asset=asset, amount=terms.amount, price=terms.price, **policies)
        made = money.create_contract(wanted, told, by=self.payer["user"], now=self.now())
        yes = self.owner["user"] if payee == "owner" else self.payer["user"]
        money.accept_terms(contract_id=made.pk, version=1, by=yes, now=self.now())
        is_reservation = kind == "reservation"
        deal = Deal(
            made.pk,
            "lab wallet",
            "bucket reserved_hours" if is_reservation else "desk wallet",
            anchor,
            interval == "month",
            [terms],
            is_reservation=is_reservation,
            **policies,
        )
        while deal.due(0).date() < self.now().date():
            deal.first += 1
        if is_reservation:
            self.keys[made.ref] = "bucket"
            self.bucket_of = made
        self.deals.append(deal)

    def pass_days(self, days: int) -> None:
        super().pass_days(days)
        self.bring_on(self.now())

    def bring_on(self, moment: datetime) -> None:
        for deal in self.deals:
            while money.tick(contract_id=deal.pk, now=moment):
                pass
            deal.bring_on(self.books, moment, self.seen_at)

    def pass_time(self, draw: Draw) -> None:
        days = draw(st.sampled_from([1, 3, 6, 8, 16]))
        hours = draw(st.integers(0, 23))
        self.wait(hours * 3600)
        self.pass_days(days)

    def steer(self, draw: Draw) -> None:
        what = draw(st.sampled_from(["rest", "rest", "resume", "change", "stop", "clock"]))
        number = draw(numbers)
        days = draw(st.integers(0, 20))
        times = draw(st.integers(1, 4))
        # What falls due meanwhile nobody has looked at yet.
        self.wait(days % 3 * 4 * 86_400)
        if what == "rest":
            self.rest(number, days)
        elif what == "resume":
            self.resume(number)
        elif what == "change":
            self.change(number, times)
        elif what == "stop" and times == 1:
            self.stop(number)
        else:
            # By a clock that was set back nothing is done twice.
            self.bring_on(self.now() - timedelta(days=3))

    def rest(self, number: int, days: int) -> None:
        """Pause for so long, or until somebody resumes."""
        deal, now = self.deals[number], self.now()
        paused = self.goes(money.pause_contract, contract_id=deal.pk, by=self.payer["user"], now=now)
        assert bool(paused) is (deal.status in ("ACTIVE", "PAST_DUE"))
        if paused is not None:
            deal.pause(now)
        if days:
            self.pass_days(days)
            self.resume(number)

    def resume(self, number: int) -> None:
        deal, now = self.deals[number], self.now()
        resumed = self.goes(money.resume_contract, contract_id=deal.pk, by=self.payer["user"], now=now)
        assert bool(resumed) is (deal.status in ("PAUSED", "SUSPENDED"))
        if resumed is not None:
            deal.resume(now)

    def stop(self, number: int) -> None:
        deal, now = self.deals[number], self.now()
        done = self.goes(money.cancel_contract, contract_id=deal.pk, by=self.payer["user"], now=now)
        no = max(deal.next_no, deal.first_after(now))
        assert bool(done) is (deal.status != "ENDED" and (deal.stop_no is None or deal.stop_no > no))
        if done is not None:
            deal.stop_no = no

    def change(self, number: int, times: int) -> None:
        """Agree on other terms, which begin with the next period."""
        deal, now = self.deals[number], self.now()
        no = max(deal.next_no, deal.first_after(now))
        if deal.status == "ENDED" or (deal.stop_no is not None and deal.stop_no <= no):
            return
        row = Contract.objects.get(pk=deal.pk)
        last = row.terms.order_by("version").last()
        terms = Terms(times * (HOUR if last.asset_id == "GPU" else USD), times * 1_000_003 if last.price else 0, no)
        told = money.TermsWanted(
            asset=last.asset_id,
            amount=terms.amount,
            price=terms.price,
            roll_over=deal.roll_over,
            catch_up=deal.catch_up,
            shortfall=deal.shortfall,
        )
        money.propose_terms(contract_id=deal.pk, terms=told, by=self.payer["user"], now=now)
        yes = self.owner["user"] if deal.is_reservation else self.payer["user"]
        money.accept_terms(contract_id=deal.pk, version=last.version + 1, by=yes, now=now)
        deal.terms.append(terms)
