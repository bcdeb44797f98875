"""The converging loop: tell the server what is held, hear what should run, make it so."""

from __future__ import annotations

import datetime
import logging
import random
import threading
import time
from collections import OrderedDict

from . import clock, devices, executors, facts, metrics
from .alarm import Alarm
from .attempt import Attempt, UnsafeId
from .backoff import Backoff
from .cache import Cache
from .client import Client, Refused, Unreachable
from .config import Config
from .protocol import HOST_REVOKED, PROTOCOL, Assignment, Stop, SyncAnswer, SyncRequest, Timers
from .relays import Relays
from .runner import Runner
from .state import SEQ_BLOCK, State
from .usable import FIRST_SECONDS, Usable
from .verdict import AGENT_STOPPED

log = logging.getLogger("gaas.agent")

PROGRESS_SECONDS = 1.0
METRICS_SECONDS = 5.0
INVENTORY_SECONDS = 60.0
REMEMBERED_ENDS = 4096

EXIT_OK, EXIT_REFUSED, EXIT_PROTOCOL = 0, 3, 4


class Agent:
    """Hold the attempts of this host and keep them in step with the server.

    The loop's thread alone adds attempts; each is driven by its Runner. No thread waits for another's
    call: a slow log never delays a sync, since the lease depends on it.
    """

    def __init__(self, config: Config, state: State, client: Client, bubblewrap: str):
        self.config, self.state, self.client = config, state, client
        self.bubblewrap = bubblewrap
        self.session = state.session()
        # What a cluster runs outlives a restart of this machine.
        self.boot_id = config.boot_id or (f"slurm-{self.session}" if config.slurm else clock.boot_id())
        self.cache = Cache(state.shared / "cache", config.cache_mib << 20)
        self.alarm = Alarm()
        self.relays = Relays(self)
        self.closing = threading.Event()
        self.exit_code = EXIT_OK
        self.executors = {name: executors.executor_class(name)(self) for name in executors.names()}
        self.usable = Usable(config, self.alarm.ring)
        self.usable.ask(FIRST_SECONDS)
        self.devices = self._find_devices()
        self.runners: dict[str, Runner] = {}
        self.timers = Timers()
        self._ended: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._lease_deadline = 0.0
        self._backoff = Backoff(config.backoff_base_seconds, config.backoff_cap_seconds)
        self._synced = threading.Condition()
        self._answer: SyncAnswer | None = None
        self._syncs = 0
        self._synced_at = self._inventory_at = time.monotonic()
        self._metrics_at = 0.0
        self._past_seq = 0
        self._is_draining = self._is_revoked = False
        self._told: str = ""
        self._warnings: set[str] = set()

    # -- what the runners ask

    def has_lease(self) -> bool:
        """Say whether a sync of this process was answered and programs may still run on it."""
        return clock.boottime() < self._lease_deadline

    def lease_left(self) -> float:
        """Give the seconds for which programs may run without another answer."""
        return self._lease_deadline - clock.boottime()

    def devices_changed(self) -> None:
        """Have the devices looked at and reported soon; called by any thread."""
        self._inventory_at = float("-inf")
        self.alarm.ring()

    def progress_changed(self) -> None:
        self.alarm.ring(max(0.0, self._synced_at + PROGRESS_SECONDS - time.monotonic()))

    def forget(self, runner: Runner) -> None:
        """Let go of an attempt that was ended; an answer on its way may still name it."""
        self._ended[runner.attempt.id, runner.attempt.epoch] = None
        while len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        self.runners.pop(runner.attempt.id, None)
        self.alarm.ring()

    def refused(self, refused: Refused) -> None:
        """Stop for good: this agent is not let in.

        A host that was revoked ends what it runs at once, and the agent when that is done. With a secret that is
        unknown somebody may have rotated it: programs have until their fence for an agent that knows the new one.
        """
        self.exit_code = EXIT_REFUSED
        if refused.code == HOST_REVOKED:
            self._end_revoked(refused)
            return
        if not self.closing.is_set():
            log.error(
                "the server does not let this host in (%s); its credential was revoked or replaced. "
                "If the secret was rotated, put the new one into %s and start the agent again. Else ask for a new "
                "join token and run `python -m gpus.agent join --force`. Programs that still run end within %.0f s.",
                refused,
                self.state.path / "credential.json",
                self.timers.fence_seconds,
            )
        self.close()

    def _end_revoked(self, refused: Refused) -> None:
        if self.closing.is_set() or self._is_revoked:
            return
        self._is_revoked = True
        log.error(
            "%s Ending %d programs. To give this machine's GPUs again, add it as a new host and run "
            "`python -m gpus.agent join --force` with that host's join token.",
            refused.detail or refused,
            len(self.runners),
        )
        # Supervisors read it themselves, so programs end even if this process is killed now.
        self._lease_deadline = clock.boottime()
        self.state.keep_lease(self._lease_deadline)
        for runner in list(self.runners.values()):
            runner.discard("this host was revoked")
        self.alarm.lift()
        self.alarm.ring()

    # -- life

    def stop(self) -> None:
        """End the loop; with `stop_programs` only after the programs were ended and reported."""
        if self.closing.is_set() or self._is_draining or not self.config.stop_programs:
            self.close()
            return
        self._is_draining = True
        log.info("ending %d programs", len(self.runners))
        for runner in list(self.runners.values()):
            runner.stop(Stop(runner.attempt.id, runner.attempt.epoch, "stop", AGENT_STOPPED))
        self.alarm.ring()

    def close(self) -> None:
        self.closing.set()
        self.alarm.lift()
        self.alarm.ring()
        with self._synced:
            self._synced.notify_all()
        for runner in list(self.runners.values()):
            runner.nudge()

    def run(self) -> int:
        """Go on until told to stop; answers the process's exit code."""
        found = Attempt.load_all(self.state.attempts)
        for name, executor in self.executors.items():
            executor.adopt([attempt for attempt in found if attempt.assignment.executor == name])
        for attempt in found:
            log.info("%s: found again, %s", attempt, attempt.state.lower())
            self._hold(attempt)
        threading.Thread(target=self._wait, name="wait", daemon=True).start()
        while True:
            self.alarm.sleep()
            if self.closing.is_set() or ((self._is_draining or self._is_revoked) and not self.runners):
                break
            if not self._is_revoked:
                self._sync_once()
        self.close()
        for runner in list(self.runners.values()):
            runner.join(timeout=5)
        if self.runners:
            log.info("%d programs go on under their supervisors; the next `run` takes them up", len(self.runners))
        return self.exit_code

    def _hold(self, attempt: Attempt) -> None:
        runner = Runner(self, attempt)
        self.runners[attempt.id] = runner
        runner.start()

    # -- sync

    def _sync_once(self) -> None:
        try:
            answer = self._sync()
            self._converge(answer)
        except Unreachable as error:
            self._tell(logging.WARNING, f"no contact with {self.client.server}: {error}")
            self.alarm.not_before(self._backoff.next(error.retry_after))
        except Refused as refused:
            self._after_refusal(refused)
        except Exception:
            # A full disk, say: what runs must not lose its lease over it, so the next try may do better.
            log.exception("the sync failed")
            self.alarm.not_before(self._backoff.next())
        else:
            self._tell(logging.INFO, f"in contact with {self.client.server}, host is {answer.host_status}")
            self._backoff.reset()
            self.alarm.lift()
            period = self.timers.sync_busy_seconds if self.runners else self.timers.sync_idle_seconds
            self.alarm.ring(period * random.uniform(0.8, 1.2))  # noqa: S311

    def _sync(self) -> SyncAnswer:
        self._refresh_inventory()
        seq = self.state.next_seq(self._past_seq)
        held = [(runner, runner.held()) for runner in list(self.runners.values())]
        request = SyncRequest(
            protocol=PROTOCOL,
            session=self.session,
            seq=seq,
            boot_id=self.boot_id,
            clock=datetime.datetime.now(datetime.UTC).isoformat(),
            facts=facts.host_facts(is_sandboxed=bool(self.bubblewrap), executors=self.usable.names()),
            gpus=self.devices.gpus,
            attempts=[attempt for _, attempt in held],
            metrics=self._sample(),
        )
        sent_at = clock.boottime()
        self._synced_at = time.monotonic()
        answer = self.client.sync(request, lease_seconds=self.timers.lease_seconds)
        self.timers = answer.timers
        # Counted from the sending: the server's count begins later, so this side always ends first.
        self._lease_deadline = sent_at + answer.timers.fence_seconds
        self.state.keep_lease(self._lease_deadline)
        for runner, attempt in held:
            runner.reported = attempt.progress
        with self._synced:
            self._answer = answer
            self._syncs += 1
            self._synced.notify_all()
        return answer

    def _after_refusal(self, refused: Refused) -> None:
        if refused.status == 401:
            self.refused(refused)
            return
        if refused.code.startswith("protocol"):
            log.error("the server does not speak this agent's protocol %d (%s): update the agent", PROTOCOL, refused)
            self.exit_code = EXIT_PROTOCOL
            self.close()
            return
        if refused.code == "session_conflict":
            why = "another agent uses this host's credential; waiting until it was not heard for a lease"
            self._tell(logging.WARNING, f"{why} ({refused.detail})")
        elif refused.code == "stale_seq":
            self._past_seq = self.state.last_seq * 4 + SEQ_BLOCK
            self._tell(
                logging.WARNING, "the server has heard a later sync of this session; counting on from further up"
            )
        else:
            self._tell(logging.ERROR, f"the server refused the sync: {refused}")
        self.alarm.not_before(self._backoff.next())

    def _tell(self, level: int, sentence: str) -> None:
        """Log a change of fortune once, not at every try."""
        if sentence != self._told:
            self._told = sentence
            log.log(level, "%s", sentence)

    def _refresh_inventory(self) -> None:
        if time.monotonic() - self._inventory_at >= INVENTORY_SECONDS:
            self._inventory_at = time.monotonic()
            self.devices = self._find_devices()
            self.usable.ask()

    def _find_devices(self) -> devices.Devices:
        own = (executor.devices() for executor in self.executors.values())
        return next((found for found in own if found is not None), None) or devices.find(
            self.config.simulated_gpus, self.session
        )

    def _sample(self) -> list[dict]:
        if time.monotonic() - self._metrics_at < METRICS_SECONDS:
            return []
        self._metrics_at = time.monotonic()
        if own := [sample for executor in self.executors.values() for sample in executor.samples()]:
            return own
        if not self.devices.nodes:
            return []
        attempts = [runner.attempt for runner in list(self.runners.values())]
        return metrics.gpus(
            [pid for attempt in attempts for pid in attempt.roots()], [attempt.id for attempt in attempts]
        )

    # -- converge

    def _converge(self, answer: SyncAnswer) -> None:
        self.relays.follow(answer.relays)
        for warning in set(answer.warnings) - self._warnings:
            log.warning("the server warns: %s", warning)
        self._warnings = set(answer.warnings)
        for stop in answer.stop:
            runner = self.runners.get(stop.id)
            if runner is not None and runner.attempt.epoch == stop.epoch:
                runner.stop(stop)
        if not self._is_draining:
            for assignment in answer.attempts:
                self._take(assignment)

    def _take(self, assignment: Assignment) -> None:
        """Take up an assignment, unless it is held or was ended while this answer was on its way."""
        runner = self.runners.get(assignment.id)
        if runner is not None:
            if runner.attempt.epoch != assignment.epoch:
                runner.discard("a newer epoch was assigned")
            else:
                runner.attempt.prolong(assignment.limit_ms)
            return
        if (assignment.id, assignment.epoch) in self._ended:
            return
        try:
            attempt = Attempt.keep(self.state.attempts, assignment)
        except (OSError, UnsafeId) as error:
            log.error("attempt %s cannot be taken: %s", assignment.id[:64], error)
            return
        log.info("%s: assigned (task %s)", attempt, assignment.task_id)
        self._hold(attempt)

    # -- wait

    def _wait(self) -> None:
        """Hold one long poll open, so that news arrives at once; without it the period of the syncs is enough."""
        backoff = Backoff(self.config.backoff_base_seconds, self.config.backoff_cap_seconds)
        while not self.closing.is_set():
            with self._synced:
                if self._answer is None:
                    self._synced.wait(1.0)
                    continue
                answer, seen = self._answer, self._syncs
            try:
                revision = self.client.wait(answer.wait_url, answer.ticket, answer.revision, answer.timers.wait_seconds)
            except (Unreachable, Refused) as error:
                log.debug("wait: %s", error)
                self.closing.wait(backoff.next(getattr(error, "retry_after", None)))
                continue
            backoff.reset()
            if revision is None:
                continue
            with self._synced:
                if self._answer is None or revision <= self._answer.revision:
                    continue
                self.alarm.ring()
                # Not again before a sync has told what the news is.
                while self._syncs == seen and not self.closing.is_set():
                    self._synced.wait(1.0)
