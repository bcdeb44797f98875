"""Tasks: for hours, for money, from reserved hours; with an end, and going on for as long as somebody pays."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from gpus.models import Host
from gpus.services import SyncReport
from tasks import services as work
from tasks.choices import OPEN, Fault, TaskStatus
from tasks.draft import Draft
from tasks.models import Attempt, Task
from tasks.services.attempts import Report, close
from tasks.services.sync import Held
from tests.money.agreeing import Agreeing
from tests.money.house import Draw, picks
from tests.money.model import CEILING, HOUR, QUARTER, Work, fee_of, worth
from tests.money.paying import Paying

ENDS = ["SUCCEEDED", "SUCCEEDED", "FAILED", "HOST", "PLATFORM", "CANCELLED", "TIMED_OUT", "CALLED OFF"]
FAULTS = {"FAILED": "user", "HOST": "host", "TIMED_OUT": "user"}


class Working(Paying, Agreeing):
    def pay_in(self) -> None:
        super().pay_in()
        self.tasks: dict[Any, Work] = {}
        self.running: dict[Any, Work] = {}  # by their attempts

    def submit(self, draw: Draw) -> None:
        """Ask for a task, approve it where that is needed, and start whatever finds a GPU."""
        name = draw(st.sampled_from(["lab", "lab", "desk", "owner"]))
        funding = draw(st.sampled_from(["quota", "wallet", "wallet", "reserved"]))
        gpus = draw(st.integers(1, 2))
        hours = draw(st.sampled_from([None, None, 1, 2, 4]))
        retries = draw(st.integers(0, 1))
        names_host = draw(st.booleans())
        reserved = self.books.free("bucket reserved_hours")
        goes_on = hours is None
        limit = (hours or 1) * HOUR
        draft = Draft(
            title="t",
            kind="script",
            spec={"command": ["true"], "serve": True} if goes_on else {"command": ["true"]},
            funding=funding,
            contract_id=self.bucket_of.pk if funding == "reserved" else None,
            gpus=gpus,
            limit_ms=None if goes_on else limit,
            account=self.accounts[name],
            host_id=self.owner["host"].pk if names_host else None,
            max_price_per_hour=CEILING if funding == "wallet" else None,
            retries=retries,
        )
        by = self.owner["user"] if name == "owner" else self.payer["user"]
        task = self.goes(work.submit, draft, by=by, now=self.now())
        gives = next(deal for deal in self.deals if deal.is_reservation).gives(self.now())
        if names_host and not goes_on and name == "lab" and gives and reserved >= gpus * limit:
            funding = "reserved"  # what is reserved is spent first
        kind = {"quota": "hours", "wallet": "wallet"}.get(funding)
        model = Work(f"{name} {kind}" if kind else "bucket reserved_hours", funding, gpus, limit, goes_on, 0)
        needed = model.to_hold(limit)
        fits = self.books.free(model.payer) >= needed and self._fits_cap(model, needed)
        # Of another's reservation nobody holds anything.
        assert bool(task) is (fits and (funding != "reserved" or (name == "lab" and gives)))
        if task is None:
            return
        assert task.funding == funding
        self._hold(model, needed)
        self.tasks[task.pk] = model
        if task.status == "PENDING":
            work.approve(task, by=self.root, now=self.now())
        self.start()

    def _fits_cap(self, model: Work, more: int) -> bool:
        used = self.books.held["desk hours"] + self.used_by_desk
        return model.payer != "desk hours" or self.cap_of_desk is None or used + more <= self.cap_of_desk

    used_by_desk = 0

    def _hold(self, model: Work, amount: int) -> None:
        self.books.held[model.payer] += amount
        model.held += amount

    def sync(self) -> None:
        """Say as the owner's agent what runs and for how long."""
        self.owner["seq"] += 1
        report = SyncReport(
            session=self.owner["session"],
            seq=self.owner["seq"],
            boot_id=self.owner["boot"],
            clock=self.now().isoformat(),
            facts=self.owner["facts"],
            gpus=self.owner["devices"],
        )
        rows = Attempt.objects.filter(pk__in=self.running).values_list("pk", "epoch")
        held = [
            Held(pk, epoch, "RUNNING", elapsed_ms=self.running[pk].elapsed, log_offset=0, progress=None)
            for pk, epoch in rows
        ]
        self.seen_at = self.now()
        work.sync(host=Host.objects.get(pk=self.owner["host"].pk), report=report, held=held, now=self.seen_at)

    def start(self) -> None:
        self.sync()
        work.schedule(now=self.now)
        for attempt in Attempt.objects.filter(status="OFFERED").select_related("host"):
            session, seq, model = self.owner["session"], self.owner["seq"], self.tasks[attempt.task_id]
            about = {"attempt_id": attempt.pk, "host": attempt.host, "epoch": attempt.epoch}
            limit = work.start(**about, session=session, seq=seq, now=self.now())
            assert limit == model.left
            model.elapsed = model.in_parts = 0
            self.running[attempt.pk] = model

    def go_on(self, draw: Draw) -> None:
        """Let what goes on run, and pay for its next hour where a quarter of one is left."""
        number, hours = draw(picks), draw(st.lists(st.sampled_from([30, 50, 59]), min_size=1, max_size=3))
        those = [(attempt_id, model) for attempt_id, model in self.running.items() if model.goes_on]
        if not those:
            self.submit(draw)
            return
        attempt_id, model = self.pick(those, number)
        for minutes in hours:
            self._goes_on(self._task_of(attempt_id), model, minutes)

    def _goes_on(self, task_id: UUID, model: Work, minutes: int) -> None:
        model.elapsed = min(model.elapsed + minutes * 60_000, model.left)
        self.wait(minutes * 60 + 1)
        self.sync()
        is_ending = Task.objects.filter(pk=task_id, cancel_requested_at__isnull=False).exists()
        done = work.prolong(task_id=task_id, now=self.now())
        if is_ending or model.left - model.elapsed > QUARTER:
            # It ends because somebody called it off, or nobody paid for its last hour.
            assert not done
            assert model.may_end or not is_ending
            return
        parts = self._cost(model, model.in_parts, model.elapsed)
        captured = model.captured + model.elapsed - model.in_parts
        more = model.to_hold(model.limit + HOUR - captured) - (model.held - parts)
        assert done is (self.books.free(model.payer) >= more and self._fits_cap(model, more))
        model.may_end |= not done
        if done:
            self._charge(model, model.in_parts, model.elapsed)
            model.in_parts, model.captured = model.elapsed, captured
            model.limit += HOUR
            self._hold(model, more)

    def end_one(self, draw: Draw) -> None:
        """End an attempt that runs as was drawn; where none does, look for GPUs again, or call a task off."""
        number = draw(picks)
        end = draw(st.sampled_from(ENDS))
        ms = draw(st.integers(0, 3 * HOUR))
        if not self.tasks:
            self.submit(draw)
            return
        if not self.running:
            self.start()
        if self.running and end != "CALLED OFF":
            self.end(number, end, ms)
        else:
            self.cancel(number)

    def end(self, number: int, end: str, ms: int) -> None:
        attempt_id = self.pick(list(self.running), number)
        model, attempt = self.running[attempt_id], Attempt.objects.select_related("host").get(pk=attempt_id)
        task = Task.objects.select_related("account", "hold").get(pk=attempt.task_id)
        if end == "CANCELLED":
            self.goes(work.cancel, task, by=task.submitted_by, now=self.now())
        self.wait(ms / 1000 + 1)
        model.elapsed = min(model.elapsed + ms, model.left)
        if end == "PLATFORM":
            about = {"fault": Fault.PLATFORM, "code": "platform", "detail": "Lost here", "elapsed_ms": model.elapsed}
            close(attempt, task, status="FAILED", until=self.now(), now=self.now(), **about)
        else:
            report = Report(
                epoch=attempt.epoch,
                outcome="FAILED" if end == "HOST" else end,
                fault=FAULTS.get(end, "none"),
                exit_code=0 if end == "SUCCEEDED" else 1,
                code="host_shutdown" if end == "HOST" else "",  # which is not held against it
                detail="",
                elapsed_ms=model.elapsed,
                log_size=0,
                log_sha256="",
            )
            work.finish(attempt_id=attempt.pk, host=attempt.host, report=report, now=self.now())
        del self.running[attempt_id]
        if end not in ("HOST", "PLATFORM"):
            model.counted.append((model.in_parts, model.elapsed, False))
            model.before += model.elapsed
        else:
            if end == "PLATFORM":
                model.counted.append((model.in_parts, model.elapsed, True))
            model.before += model.in_parts
        self.settle(attempt.task_id)

    def cancel(self, number: int) -> None:
        """Call a task off: one that runs ends when its host says so."""
        task = Task.objects.get(pk=self.pick(list(self.tasks), number))
        self.tasks[task.pk].may_end = True
        self.goes(work.cancel, task, by=task.submitted_by, now=self.now())
        self.settle(task.pk)

    def _task_of(self, attempt_id: UUID) -> UUID:
        return Attempt.objects.values_list("task_id", flat=True).get(pk=attempt_id)

    def settle(self, task_id: UUID) -> None:
        """Charge what counts of a task that is over, and give back the rest."""
        task = Task.objects.get(pk=task_id)
        if task.status not in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED):
            return
        assert not Attempt.objects.filter(task=task, status__in=OPEN).exists()
        model = self.tasks.pop(task_id)
        for begin, end, is_lost in model.counted:
            if not is_lost:
                self._charge(model, begin, end)
            elif model.funding == "wallet":
                charge = worth(self.price, end) - worth(self.price, begin)
                fee = fee_of(worth(self.price, end)) - fee_of(worth(self.price, begin))
                self.books.move("loss", "owner earnings_pending", model.gpus * (charge - fee))
        self._hold(model, -model.held)

    def _cost(self, model: Work, begin: int, end: int) -> int:
        if model.funding != "wallet":
            return model.gpus * (end - begin)
        return model.gpus * (worth(self.price, end) - worth(self.price, begin))

    def _charge(self, model: Work, begin: int, end: int) -> None:
        """Take the price of a GPU's time from one moment to another, out of what is held."""
        cost = self._cost(model, begin, end)
        self._hold(model, -cost)
        if model.funding != "wallet":
            self.books.move(model.payer, "used", cost)
            self.used_by_desk += cost if model.payer == "desk hours" else 0
            return
        fee = fee_of(worth(self.price, end)) - fee_of(worth(self.price, begin))
        self.books.move(model.payer, "fees", model.gpus * fee)
        self.books.move(model.payer, "owner earnings_pending", cost - model.gpus * fee)
