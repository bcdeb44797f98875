"""A month in the life of a house, by the verbs that people, agents and the clock call; nothing is written past them.

Accounts pay in by hand and by card, share with accounts below them and have allowances to them; their people submit
tasks for hours and for money, which are approved, matched, started and ended as an agent reports it (no agent runs:
the calls are those its API makes). Tasks fail by everybody's fault, are cancelled and tried again. Cards are refunded
and contested; earnings mature and are paid out; books are sealed each night. The card's bank is the one thing that is
made up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from accounts.ledger.models import Balance
from accounts.ledger.services import take_snapshot
from accounts.models import Account, User
from accounts.services import create_account, create_child, fund, grant_hours, wallet_balance
from gaas.lib.errors import DomainError
from gaas.lib.ids import uuid7
from gpus.agent.protocol import PROTOCOL, GpuReport, HostFacts
from gpus.models import Host
from gpus.services import SyncReport, join, register_host
from payments import services as money
from payments.models import Dispute, Payment, Refund
from payments.providers import PROVIDERS, Begun, Seen
from tasks import services as work
from tasks.choices import OPEN
from tasks.draft import Draft
from tasks.models import Attempt, Task
from tasks.services.attempts import Report
from tasks.services.sync import Held

HOUR, USD = 3_600_000, 1_000_000
SLOTS = 6  # of a day: in each, tasks are submitted and matched together, run beside each other and end
GPUS_PER_OWNER = 4


class Card:
    """Be a bank that takes every card; honest about being made up."""

    methods = ("page",)

    def check(self, amount: int) -> None:
        """Take any amount."""

    def begin(self, payment: Payment) -> Begun:
        return Begun(f"card_{payment.pk.hex}")

    def look(self, payment: Payment) -> Seen:
        return Seen("succeeded", payment.amount)

    def give_up(self, payment: Payment) -> Seen:
        return self.look(payment)

    def refund(self, refund: Refund) -> tuple[str, Seen]:
        return f"back_{refund.pk.hex}", Seen("succeeded")


class Month:
    """Live day after day. `now()` tells the time and `wait(seconds)` lets it pass."""

    def __init__(
        self,
        *,
        accounts: int,
        owners: int,
        tasks: int,
        now: Callable[[], datetime],
        wait: Callable[[float], None],
        days: int = 30,
        slots: int = SLOTS,
        seed: int = 5,
    ) -> None:
        self.now, self.wait, self.days, self.slots, self.tasks = now, wait, days, slots, tasks
        self.draw = random.Random(seed)
        self.did: Counter[str] = Counter()
        self.submitted = 0
        PROVIDERS["stripe"] = Card()
        self.root = User.objects.create_user(email="root@month.example", is_staff=True, is_superuser=True)
        self.second = User.objects.create_user(email="second@month.example", is_staff=True, is_superuser=True)
        self.owners = [self._owner(number) for number in range(owners)]
        self.payers = [self._payer(number) for number in range(accounts)]

    # --- the people -------------------------------------------------------------------------------------
    def _person(self, name: str) -> User:
        return User.objects.create_user(email=f"{name}@month.example", email_verified_at=self.now())

    def _owner(self, number: int) -> dict[str, Any]:
        """Make somebody with a host, its GPUs listed at a price, and where earnings go."""
        user = self._person(f"owner{number}")
        account, now = user.personal_account, self.now()
        _, token = register_host(account=account, name=f"host {number}", by=user, now=now)
        facts = HostFacts(
            hostname=f"h{number}",
            agent_version="1",
            os="Debian",
            cpu_count=8,
            memory_mib=64_000,
            sandbox="bubblewrap",
            executors=["process"],
        )
        host, _ = join(token=token, facts=facts, protocol=PROTOCOL, now=now)
        devices = [
            GpuReport(uuid=f"GPU-{number}-{index}", index=index, model="L4", vram_mib=24_000)
            for index in range(GPUS_PER_OWNER)
        ]
        owner = {"user": user, "account": account, "host": host, "facts": facts, "devices": devices, "seq": 0}
        owner |= {"session": uuid4(), "boot": f"boot-{number}"}
        self._sync(owner)
        price = self.draw.randrange(1_500_001, 3_000_003)
        for gpu in host.gpus.select_related("host__account"):
            gpu.offer(by=user, now=now, visibility="PUBLIC", accepts_quota=True, price_per_hour=price)
            gpu.list(by=self.root, now=now)
        owner["destination"] = money.add_destination(
            account=account, kind="manual", detail=f"account {number:08} of the bank", by=user, now=now
        )
        return owner

    def _payer(self, number: int) -> dict[str, Any]:
        """Make an organisation; each fifth has an account below it, shared with and on an allowance."""
        user = self._person(f"payer{number}")
        account = create_account(name=f"Lab {number}", by=user)
        payer = {"user": user, "account": account}
        grant_hours(account=account, gpu_ms=200 * HOUR, by=self.root, reason="A new lab", key=f"month:{account.pk}")
        self._top_up(payer, 500)
        if number % 5 == 0:
            child = create_child(parent=account, name=f"Desk {number}", by=user)
            fund(account=account, to=child, asset="USD", amount=50 * USD, by=user, key="first")
            wanted = money.ContractWanted(
                kind="allowance",
                title="Hours for the desk",
                payer=account,
                payee=child,
                starts_on=self.now().date(),
                interval="week",
            )
            terms = money.TermsWanted(asset="GPU", amount=5 * HOUR, price=0)
            made = money.create_contract(wanted, terms, by=user, now=self.now())
            money.accept_terms(contract_id=made.pk, version=1, by=user, now=self.now())
            payer["child"] = child
            self.did["allowances"] += 1
        return payer

    # --- money ------------------------------------------------------------------------------------------
    def _top_up(self, payer: dict[str, Any], usd: int) -> None:
        account, now = payer["account"], self.now()
        if self.draw.random() < 0.5:
            payment = money.record_payment(
                account=account,
                amount=usd * USD,
                method="bank transfer",
                reference=f"R-{uuid7()}",
                by=self.root,
                now=now,
            )
            if not payment.is_paid:
                money.approve_payment(payment=payment, by=self.second, now=now)
        else:
            payment = money.start_payment(
                account=account, provider="stripe", amount=usd * USD, by=payer["user"], now=now
            )
            while not payment.is_paid:
                payment = money.follow(payment_id=payment.pk, now=self.now())
                self.wait(120)
        self.did["payments"] += 1

    def money_of_a_day(self) -> None:
        for payer in self.draw.sample(self.payers, max(1, len(self.payers) // 15)):
            if wallet_balance(payer["account"]).available < 200 * USD:
                self._top_up(payer, self.draw.choice([50, 100, 250, 700]))
        cards = list(Payment.objects.filter(provider="stripe", received__gt=0).order_by("-pk")[:200])
        for payment in self.draw.sample(cards, min(len(cards), 1 + len(self.payers) // 60)):
            self._try("refunds", self._refund, payment)
        for payment in self.draw.sample(cards, min(len(cards), 1 + len(self.payers) // 100)):
            self._try("disputes", self._contest, payment)
        for dispute in Dispute.objects.filter(status="OPEN", opened_at__lt=self.now() - timedelta(days=3)):
            money.close_dispute(provider_id=dispute.provider_id, won=self.draw.random() < 0.5, now=self.now())
        self.did["matured"] += money.mature_all(now=self.now())
        self.did["periods"] += money.tick_all(now=self.now())
        for owner in self.owners:
            if self.draw.random() < 0.5 and money.earnings_of(owner["account"]).available >= 10 * USD:
                self._try("payouts", self._pay_out, owner)

    def _refund(self, payment: Payment) -> None:
        payment.refresh_from_db()
        amount = min(payment.refundable, self.draw.choice([5, 10, 25]) * USD)
        refund = money.request_refund(
            payment_id=payment.pk, amount=amount, reason="Too much", by=self.root, now=self.now()
        )
        if refund.send_at is None:
            money.approve_refund(refund=refund, by=self.second, now=self.now())
        self.wait(1)
        money.send_refund(refund_id=refund.pk, now=self.now())

    def _contest(self, payment: Payment) -> None:
        payment.refresh_from_db()
        money.open_dispute(
            payment_id=payment.pk,
            provider_id=f"dp_{uuid7()}",
            amount=payment.refundable,
            reason="fraudulent",
            now=self.now(),
        )

    def _pay_out(self, owner: dict[str, Any]) -> None:
        free = Balance.objects.filter(owner_key=owner["account"].owner_key, kind="earnings").first()
        amount = 0 if free is None else free.available // USD * USD
        payout = money.request_payout(destination=owner["destination"], amount=amount, by=owner["user"], now=self.now())
        payout = money.approve_payout(payout=payout, by=self.root, now=self.now())
        # Who agreed to a large one does not send it too.
        payout = money.begin_sending(payout=payout, by=self.second, now=self.now())
        money.note_payout_sent(payout=payout, reference=f"P-{uuid7()}", by=self.second, now=self.now())

    # --- tasks ------------------------------------------------------------------------------------------
    def _submit(self) -> None:
        payer = self.draw.choice(self.payers)
        account: Account = payer.get("child") if self.draw.random() < 0.3 else None or payer["account"]
        funding = "quota" if self.draw.random() < 0.3 else "wallet"
        draft = Draft(
            title="train",
            kind="script",
            spec={"command": ["true"]},
            funding=funding,
            gpus=1 if self.draw.random() < 0.85 else 2,
            limit_ms=self.draw.choice([1, 2, 4]) * HOUR,
            account=account or payer["account"],
            max_price_per_hour=3_000_003 if funding == "wallet" else None,
            retries=self.draw.choice([0, 0, 1]),
            cost_code=self.draw.choice(["", "", "vision", "speech"]),
        )
        task = work.submit(draft, by=payer["user"], now=self.now())
        self.submitted += 1
        if self.draw.random() < 0.02:
            work.reject(task, by=self.root, reason="Not this week", now=self.now())
        elif task.status == "PENDING":
            work.approve(task, by=self.root, now=self.now())

    def _sync(self, owner: dict[str, Any]) -> None:
        owner["seq"] += 1
        report = SyncReport(
            session=owner["session"],
            seq=owner["seq"],
            boot_id=owner["boot"],
            clock=self.now().isoformat(),
            facts=owner["facts"],
            gpus=owner["devices"],
        )
        running = Attempt.objects.filter(host=owner["host"], status="RUNNING").values_list("pk", "epoch")
        held = [Held(pk, epoch, "RUNNING", elapsed_ms=0, log_offset=0, progress=None) for pk, epoch in running]
        work.sync(host=Host.objects.get(pk=owner["host"].pk), report=report, held=held, now=self.now())

    def _slot(self, until: int) -> None:
        """Submit until there are so many in all, match, run and end; what finds no GPU waits for the next slot."""
        for _ in range(3 * (until - self.submitted)):
            if self.submitted < until:
                self._try("submitted", self._submit)
        for owner in self.owners:
            self._sync(owner)
        work.schedule(now=self.now)
        by_host = {owner["host"].pk: owner for owner in self.owners}
        offers = list(Attempt.objects.filter(status__in=OPEN).select_related("host", "task"))
        for attempt in offers:
            owner = by_host[attempt.host_id]
            work.start(
                attempt_id=attempt.pk,
                host=attempt.host,
                epoch=attempt.epoch,
                session=owner["session"],
                seq=owner["seq"],
                now=self.now(),
            )
        self.wait(self.draw.randrange(1200, 3500))
        for attempt in offers:
            self._end(attempt)
        self.wait(86_400 / self.slots - 3600)

    def _end(self, attempt: Attempt) -> None:
        how = self.draw.random()
        outcome, fault, code = "SUCCEEDED", "none", 0
        if how < 0.08:
            outcome, fault, code = "FAILED", "user", 1
        elif how < 0.11:
            outcome, fault, code = "FAILED", "host", 1
        elif how < 0.14:
            task = Task.objects.get(pk=attempt.task_id)
            work.cancel(task, by=task.submitted_by, now=self.now())
            outcome, fault, code = "CANCELLED", "none", 143
        elif how < 0.16:
            outcome, fault, code = "TIMED_OUT", "user", 137
        elapsed = self.draw.randrange(0, 5_000_000)
        report = Report(
            epoch=attempt.epoch,
            outcome=outcome,
            fault=fault,
            exit_code=code,
            code="",
            detail="",
            elapsed_ms=elapsed,
            log_size=0,
            log_sha256="",
        )
        work.finish(attempt_id=attempt.pk, host=attempt.host, report=report, now=self.now())
        self.did[outcome] += 1

    # --- the days ---------------------------------------------------------------------------------------
    def live(self, told: Callable[[float], None] = lambda _: None) -> None:
        """Live all days; `told(part)` is called after each slot with the part of the month that is over."""
        slots = self.days * self.slots
        for slot in range(slots):
            self._slot(self.tasks * (slot + 1) // slots)
            if slot % self.slots == self.slots - 1:
                self.money_of_a_day()
                take_snapshot()
            told((slot + 1) / slots)
        # What still waits is called off, so that the month ends with nothing held.
        for task in Task.objects.filter(status__in=["PENDING", "APPROVED"]).select_related("submitted_by"):
            work.cancel(task, by=task.submitted_by, now=self.now())
            self.did["called off"] += 1

    def _try(self, what: str, verb: Callable[..., object], *about: object) -> None:
        """Do it, and count a refusal as one: a wallet may be empty, a payment contested."""
        try:
            verb(*about)
        except DomainError as refusal:
            self.did[f"{what} refused: {refusal.code}"] += 1
        else:
            self.did[what] += 1
