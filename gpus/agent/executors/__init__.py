"""The ways in which an attempt is run, behind one small interface.

An executor is one object for each agent. Its methods are called by the attempts' threads (runner.py) unless
said otherwise, and never for one attempt by two threads at once. What it does with an attempt shows in the
attempt's folder (attempt.py), which is all that the runner looks at:

    refusal   may it be tried here at all?               nothing is done yet
    prepare   all that takes long and may fail           PREPARING: reported, free, ended by a stop
    launch    the server has permitted it: run it        `started.json` before anything of the program runs
    is_driven is somebody at it who will write `exit.json`?
    lost      nobody is, and there is no `exit.json`: end what is left, say how it ended
    clear     the attempt goes away: end whatever is left of it

Whoever drives an attempt appends to `log`, replaces `progress.json`, obeys `stop`, the time limit and the lease
(order.json, lease.json), and writes `exit.json` when no process of it is left. Each is safe to do again: the
agent may have been killed in the middle of any of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..attempt import Attempt, Exit
    from ..config import Config
    from ..devices import Devices
    from ..loop import Agent
    from ..phase import Phase
    from ..protocol import Assignment

# By name, so that a supervisor, which has the standard library alone, loads only what it needs.
_EXECUTORS = {
    "process": "process.ProcessExecutor",
    "container": "container.ContainerExecutor",
    "slurm": "slurm.SlurmExecutor",
}
_PROGRAMS = {"process": "local.LocalProgram", "container": "contained.ContainedProgram", "slurm": "local.LocalProgram"}


@dataclass
class Finding:
    """One thing that `doctor` looked at; `mend` is what to type when it is not as it should be."""

    about: str
    is_good: bool
    says: str
    mend: str = ""


class Executor:
    """Run attempts in one way. A constructor must not fail or wait: it is called on hosts that cannot use it too."""

    name = ""

    def __init__(self, agent: Agent):
        self.agent = agent

    @classmethod
    def unusable(cls, config: Config) -> str | None:
        """Say in a sentence why this host cannot run attempts in this way; None when it can. May take half a minute."""
        raise NotImplementedError

    @classmethod
    def examine(cls, config: Config) -> Iterator[Finding]:
        """Look at what this way of running needs, for `doctor`."""
        raise NotImplementedError

    def adopt(self, attempts: list[Attempt]) -> None:
        """Take up what an earlier agent left: called once by the loop, before any other method.

        `attempts` are all that this host holds of this executor. Whatever else of its own is found
        (containers, jobs) belongs to no attempt any more and is ended.
        """

    def devices(self) -> Devices | None:
        """List the GPUs offered instead of this machine's own; None: no others. Called by the loop."""
        return None

    def samples(self) -> list[dict]:
        """Say what those GPUs do now, as `metrics` does of this machine's. Called by the loop."""
        return []

    def refusal(self, assignment: Assignment) -> str | None:
        """Say in a sentence why this payload cannot be run; None when it can."""
        raise NotImplementedError

    def prepare(self, attempt: Attempt, phase: Phase) -> None:
        """Get what the program needs. Waits by `phase.pause`, tells by `phase.say`, raises phase.Unprepared."""

    def launch(self, attempt: Attempt, limit_ms: int) -> None:
        """Run the program, or have it run, and return at once."""
        raise NotImplementedError

    def is_driven(self, attempt: Attempt) -> bool:
        """Say whether somebody will write this attempt's end."""
        raise NotImplementedError

    def last_word(self, attempt: Attempt) -> str:
        """Say what is known of why nobody drives it any more; for the agent's log."""
        return "it left no word"

    def lost(self, attempt: Attempt) -> Exit:
        """End what is left of an attempt that nobody drives, and say how it ended."""
        raise NotImplementedError

    def clear(self, attempt: Attempt) -> None:
        """End all that is left of an attempt and remove what lies outside its folder; returns when nothing is left."""
        raise NotImplementedError


def _load(where: str) -> Any:
    module, _, name = where.partition(".")
    return getattr(importlib.import_module(f".{module}", __name__), name)


def names() -> list[str]:
    return list(_EXECUTORS)


def executor_class(name: str) -> type[Executor]:
    return _load(_EXECUTORS[name])


def program_class(name: str) -> Any:
    """Give the class of program.Program that a supervisor runs for the executor of that name."""
    return _load(_PROGRAMS[name])
