"""What is known of the cluster, and what it was asked to do: one `squeue` for all jobs, one `sbatch` for each shape."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..attempt import Attempt
from . import batch, states
from .commands import Commands, Job, SlurmAway, SlurmRefused
from .inventory import Partition, take
from .settings import SlurmSettings

log = logging.getLogger("gaas.agent")

GATHER_SECONDS = 0.1  # what is assigned together comes no further apart than this
MOST_GATHER_SECONDS = 1.0
IDLE_SECONDS = 60.0  # between looks at the queue while nothing of ours should be in it
FORGET_NODES_SECONDS = 105.0  # so long after a look was due and not answered, no GPU is offered any more
STRANGE_LOOKS = 2


class Submission:
    """One attempt on its way into the queue; `failed` says why it did not get there."""

    def __init__(self, attempt: Attempt, shape: batch.Shape):
        self.attempt, self.shape = attempt, shape
        self.done = threading.Event()
        self.failed: SlurmAway | SlurmRefused | None = None


class Cluster:
    """Talk to Slurm in two threads of its own, so that no attempt and no sync waits for it.

    `root` is this host's part of the shared folder, `owner` goes into every job's comment, `held` lists
    what this host holds: jobs of ours that belong to none of it are cancelled.
    """

    def __init__(self, settings: SlurmSettings, root: Path, owner: str, held: Callable[[], list[Attempt]]):
        self.settings, self.root, self.owner, self._held = settings, root, owner, held
        self.commands = Commands(settings)
        self.library = Path()
        self.problem = "Slurm was not asked yet"
        self.on_nodes: Callable[[], None] = lambda: None
        self._jobs: dict[str, Job] = {}
        self._listed_at = float("-inf")  # when the last answered squeue was called
        self._partition: Partition | None = None
        self._nodes_at = float("-inf")
        self._waiting: deque[Submission] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._strange: dict[str, int] = {}
        self._name = ""

    def start(self, library: Path) -> None:
        self.library = library
        for work in (self._look, self._submit):
            threading.Thread(target=work, name=f"slurm{work.__name__}", daemon=True).start()

    # -- what attempts ask; none of it waits

    def submit(self, attempt: Attempt, shape: batch.Shape) -> Submission:
        wanted = Submission(attempt, shape)
        with self._condition:
            self._waiting.append(wanted)
            self._condition.notify_all()
        return wanted

    def errand(self, do: Callable[[], None]) -> None:
        """Have a command run soon; one that Slurm does not answer is not repeated."""
        with self._condition:
            self._errands.append(do)
            self._condition.notify_all()

    def job(self, key: str) -> Job | None:
        with self._condition:
            return self._jobs.get(key)

    def named(self, place: batch.Place) -> Job | None:
        """Find the job that a batch became, or this place of its array."""
        with self._condition:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.name == place.name and job.comment == self.owner and _index(job.key) == place.index:
                return job
        return None

    def listed_since(self, moment: float) -> bool:
        """Say whether the queue was read after this moment (time.monotonic)."""
        return self._listed_at > moment

    def partition(self) -> Partition:
        """Give what there is; nothing once Slurm has been silent for long, so that nothing more is assigned."""
        old = time.monotonic() - self._nodes_at - self.settings.nodes_seconds
        if self._partition is None or old > FORGET_NODES_SECONDS:
            return Partition()
        return self._partition

    # -- looking

    def _look(self) -> None:
        jobs_at = nodes_at = float("-inf")
        while True:
            now = time.monotonic()
            if now - nodes_at >= self.settings.nodes_seconds or (self._partition is None and now - nodes_at >= 1):
                nodes_at = now
                self._read_nodes()
            period = self.settings.poll_seconds if self._held() else IDLE_SECONDS
            if now - jobs_at >= period:
                jobs_at = now
                self._read_jobs(now)
            with self._condition:
                if not self._errands:
                    self._condition.wait(min(self.settings.poll_seconds, 1.0))
                errands = list(self._errands)
                self._errands.clear()
            for errand in errands:
                self._try(errand)

    def _try(self, do: Callable[[], None]) -> bool:
        try:
            do()
        except (SlurmAway, SlurmRefused) as why:
            if str(why) != self.problem:
                log.warning("Slurm: %s", why)
            self.problem = str(why)
            return False
        except Exception:
            log.exception("Slurm could not be asked")
            return False
        return True

    def _read_nodes(self) -> None:
        def read() -> None:
            if not self._name:
                self._name = self.settings.cluster or self.commands.configuration().get("ClusterName", "cluster")
            fresh = take(self.commands.nodes(), self.settings, self._name)
            is_news = self._partition is None or fresh.reports != self._partition.reports
            self._warn(fresh)
            self._partition, self._nodes_at = fresh, time.monotonic()
            self.problem = ""
            if is_news:
                self.on_nodes()

        self._try(read)

    def _warn(self, fresh: Partition) -> None:
        old = self._partition or Partition()
        for type_ in sorted(fresh.unknown - old.unknown):
            log.warning("GPUs of type %s are not offered: describe them in [slurm.gpus.%s]", type_, type_)
        for node, state in sorted(fresh.unfit.items()):
            if old.unfit.get(node) != state:
                log.warning("the GPUs of node %s are not offered: it is %s", node, state)
        if fresh.left_out and fresh.left_out != old.left_out:
            log.warning("%d GPUs are not offered: a host has 256 at most; split the partition", fresh.left_out)

    def _read_jobs(self, now: float) -> None:
        def read() -> None:
            jobs = {job.key: job for job in self.commands.jobs()}
            with self._condition:
                self._jobs, self._listed_at = jobs, now
                self._condition.notify_all()
            self.problem = ""
            self._end_strangers(jobs)

        self._try(read)

    def _end_strangers(self, jobs: dict[str, Job]) -> None:
        """Cancel jobs that this host submitted and that no attempt of it knows, once they were seen twice."""
        places = {(place.name, place.index) for attempt in self._held() if (place := batch.place_of(attempt))}
        keys = {batch.job_of(attempt) for attempt in self._held()}
        strange = {}
        for key, job in jobs.items():
            is_ours = job.comment == self.owner and batch.NAME.fullmatch(job.name)
            if not is_ours or states.is_over(job.state) or key in keys or (job.name, _index(key)) in places:
                continue
            strange[key] = self._strange.get(key, 0) + 1
            if strange[key] >= STRANGE_LOOKS:
                log.warning("job %s belongs to no attempt: cancelling it", key)
                self.commands.cancel(key)
        self._strange = strange

    # -- submitting

    def _submit(self) -> None:
        while True:
            with self._condition:
                while not self._waiting:
                    self._condition.wait()
            self._gather()
            with self._condition:
                wanted = list(self._waiting)
                self._waiting.clear()
            wanted.sort(key=lambda one: str(one.shape))
            for shape, group in itertools.groupby(wanted, key=lambda one: one.shape):
                same = list(group)
                for first in range(0, len(same), batch.MOST_IN_ARRAY):
                    self._submit_one(shape, same[first : first + batch.MOST_IN_ARRAY])

    def _gather(self) -> None:
        """Wait until no more come at once: a burst goes in one array."""
        until = time.monotonic() + MOST_GATHER_SECONDS
        seen = 0
        while seen != len(self._waiting) and time.monotonic() < until:
            seen = len(self._waiting)
            time.sleep(GATHER_SECONDS)

    def _submit_one(self, shape: batch.Shape, group: list[Submission]) -> None:
        """Hand one batch to Slurm. Every attempt knows its place before, so that none is ever handed over unseen."""
        attempts = [one.attempt for one in group]
        failed: SlurmAway | SlurmRefused | None = None
        try:
            name = f"gaas-{attempts[0].id}.{batch.tries(attempts[0]) + 1}"
            places = [batch.Place(name, number if len(group) > 1 else None) for number in range(len(group))]
            for attempt, place in zip(attempts, places, strict=True):
                batch.keep_place(attempt, place)
            number = self.commands.submit(
                batch.options(shape, self.settings, name=name, comment=self.owner, root=self.root, attempts=len(group)),
                batch.script(self.settings, library=self.library, attempts=attempts),
            )
            for attempt, place in zip(attempts, places, strict=True):
                batch.keep_job(attempt, place.key(number))
            log.info("Slurm: %d attempts are job %s", len(group), number)
        except (SlurmAway, SlurmRefused) as why:
            failed = why
        except OSError as error:
            failed = SlurmAway(f"the shared folder cannot be written: {error}")
        for one in group:
            one.failed = failed
            one.done.set()


def _index(key: str) -> int | None:
    index = key.partition("_")[2]
    return int(index) if index.isdecimal() else None
