"""Slurm's own commands, each with a time-out, and their answers as plain values."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

from .settings import SlurmSettings

# What sbatch and squeue say when nothing is known of what they were to do.
_AWAY = re.compile(
    r"unable to contact|connect failure|timed? ?out|socket|zero bytes|transmi|communication|backup controller"
    r"|temporarily|resource temporarily|try again|authentication|munge|slurm_load_(jobs|partitions|node)"
    r"|controller|in standby mode",
    re.IGNORECASE,
)
_SEPARATOR = "\x1f"
_JOB_FIELDS = ("%i", "%A", "%T", "%N", "%j", "%k", "%r")
_NODE_WIDTHS = {"NodeList": 256, "StateLong": 64, "Gres": 1024, "GresUsed": 1024}


class SlurmAway(Exception):
    """State that Slurm did not answer: what was asked for may have happened or not."""


class SlurmRefused(Exception):
    """State, in Slurm's words, that it will not do this."""


@dataclass(frozen=True)
class Job:
    """One job or element of an array, as the queue shows it."""

    key: str  # what scancel takes: "12", or "12_3" in an array
    number: str  # the number of its own that a job has on its node, even in an array
    state: str  # PENDING, RUNNING, …
    node: str
    name: str
    comment: str
    reason: str


@dataclass(frozen=True)
class Node:
    """One node of the partition."""

    name: str
    state: str
    gres: str  # "gpu:a100:4"
    gres_used: str  # "gpu:a100:1(IDX:2)"


class Commands:
    """Ask one cluster. Every method raises SlurmAway, or SlurmRefused with the reason."""

    def __init__(self, settings: SlurmSettings):
        self.settings = settings
        self._environment = {"LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
        for name in ("HOME", "USER", "LOGNAME", "SLURM_CONF"):
            if name in os.environ:
                self._environment[name] = os.environ[name]
        if settings.conf:
            self._environment["SLURM_CONF"] = settings.conf
        if settings.bin_dir:
            self._environment["PATH"] = f"{settings.bin_dir}:{self._environment['PATH']}"

    def run(self, *command: str, given: str = "") -> str:
        """Run one command and give what it printed."""
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._environment,
                cwd="/",
                timeout=self.settings.command_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SlurmAway(f"{command[0]} did not answer within {self.settings.command_seconds:g} s") from error
        except OSError as error:
            raise SlurmAway(f"{command[0]} cannot be run: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        said = " ".join(done.stderr.split()) or f"{command[0]} ended with {done.returncode}"
        raise (SlurmAway if _AWAY.search(said) or not done.stderr.strip() else SlurmRefused)(said[:500])

    def submit(self, options: list[str], script: str) -> str:
        """Submit a batch script; gives the number of the job, or of the array."""
        answer = self.run("sbatch", "--parsable", *options, given=script).strip()
        number = answer.splitlines()[-1].partition(";")[0] if answer else ""
        if not number.isdecimal():
            raise SlurmAway(f"sbatch answered {answer[:80]!r}")
        return number

    def jobs(self) -> list[Job]:
        """List this user's jobs in the partition: waiting, running, and ended ones while Slurm remembers them."""
        shape = _SEPARATOR.join(_JOB_FIELDS)
        me, partition = str(os.geteuid()), self.settings.partition
        said = self.run("squeue", "-h", "-r", "-t", "all", "-u", me, "-p", partition, "-o", shape)
        rows = (line.split(_SEPARATOR) for line in said.splitlines())
        return [Job(*row) for row in rows if len(row) == len(_JOB_FIELDS)]

    def cancel(self, key: str) -> None:
        """End a job, waiting or not; Slurm itself sends TERM and, after its KillWait, KILL."""
        self._scancel(key)

    def signal(self, key: str, name: str, *, whole: bool) -> None:
        """Send a signal to the batch script, or to the whole of its process tree."""
        self._scancel(f"--signal={name}", "--full" if whole else "--batch", key)

    def _scancel(self, *arguments: str) -> None:
        try:
            self.run("scancel", *arguments)
        except SlurmRefused as refused:
            if not re.search(r"invalid job|already complet", str(refused), re.IGNORECASE):
                raise

    def nodes(self) -> list[Node]:
        """List the partition's nodes."""
        columns = ",".join(f"{name}:{width}" for name, width in _NODE_WIDTHS.items())
        said = self.run("sinfo", "-h", "-N", "-p", self.settings.partition, "-O", columns)
        found = {}
        for line in said.splitlines():
            cells, at = [], 0
            for width in _NODE_WIDTHS.values():
                cells.append(line[at : at + width].strip())
                at += width
            found[cells[0]] = Node(*cells)
        return [node for name, node in sorted(found.items()) if name]

    def configuration(self) -> dict[str, str]:
        """Read slurm.conf as the controller knows it."""
        said = self.run("scontrol", "show", "config")
        pairs = (line.partition("=") for line in said.splitlines() if "=" in line)
        return {name.strip(): value.strip() for name, _, value in pairs}
