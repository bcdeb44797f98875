"""What is handed to `sbatch`: attempts of one shape as one job, or as one array.

<attempt>/batch.json   the job's name and this attempt's place in it; stored before sbatch is called
<attempt>/job.json     what scancel takes; stored as soon as sbatch has answered, or the job was found by its name
<attempt>/ready.json   the one job that may run this attempt, and what it was given; written on the node
<root>/out/<number>    what Slurm itself had to say, and the supervisor before it began
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import durable
from ..attempt import Attempt
from .settings import SlurmSettings

# Beside the program there are its supervisor and, in a sandbox, what makes that.
OVERHEAD_MIB = 256
# A job's limit in Slurm is only there for an agent that is gone: the supervisor keeps the true one.
SPARE_SECONDS = 300
MOST_IN_ARRAY = 500
NAME = re.compile(r"gaas-[0-9A-Za-z-]+\.[0-9]+")


@dataclass(frozen=True)
class Shape:
    """What a job asks of Slurm; attempts of one shape may go in one array."""

    node: str  # empty: whichever
    gres: str  # empty: no GPU
    gpus: int
    memory_mib: int
    minutes: int  # 0: what the partition allows


@dataclass(frozen=True)
class Place:
    """An attempt's place: `name` is the job's, `index` its number in the array (None: no array)."""

    name: str
    index: int | None

    def key(self, number: str) -> str:
        return number if self.index is None else f"{number}_{self.index}"


def shape(attempt: Attempt, settings: SlurmSettings, *, node: str, type_: str, gpus: int) -> Shape:
    """Say what an attempt asks of Slurm."""
    memory = attempt.assignment.payload.get("memory_mib")
    if not isinstance(memory, int) or isinstance(memory, bool) or memory <= 0:
        memory = settings.memory_mib_per_gpu * max(1, gpus)
    seconds = (attempt.assignment.limit_ms + attempt.assignment.grace_ms) / 1000 + settings.go_seconds + SPARE_SECONDS
    gres = "" if not gpus else f"gpu:{gpus}" if type_ == "gpu" else f"gpu:{type_}:{gpus}"
    # Nobody can prolong a job that runs: what goes on gets what its partition allows, and the supervisor ends it.
    minutes = 0 if attempt.assignment.open_ended else math.ceil(seconds / 60)
    return Shape(node, gres, gpus, memory + OVERHEAD_MIB, minutes)


def options(shape: Shape, settings: SlurmSettings, *, name: str, comment: str, root: Path, attempts: int) -> list[str]:
    """Give sbatch's options. Nothing of the agent's environment goes with the job, and Slurm never starts it twice."""
    given = [f"--job-name={name}", f"--comment={comment}", f"--partition={settings.partition}"]
    given += ["--nodes=1", "--ntasks=1", f"--cpus-per-task={settings.cpus_per_gpu * max(1, shape.gpus)}"]
    given += [f"--mem={shape.memory_mib}M", "--no-requeue", "--export=NIL", "--chdir=/"]
    given += [f"--time={shape.minutes}"] if shape.minutes else []
    given += [f"--output={root}/out/%j", "--open-mode=append"]
    if attempts > 1:
        given.append(f"--array=0-{attempts - 1}")
    for option, value in (
        ("gres", shape.gres),
        ("nodelist", shape.node),
        ("account", settings.account),
        ("qos", settings.qos),
    ):
        if value:
            given.append(f"--{option}={value}")
    return given + settings.sbatch_options


def script(settings: SlurmSettings, *, library: Path, attempts: list[Attempt]) -> str:
    """Write the batch script: each element of the array takes the folder of its own number."""
    folders = " ".join(shlex.quote(str(attempt.folder)) for attempt in attempts)
    return (
        "#!/bin/sh\n"
        f"set -- {folders}\n"
        'shift "${SLURM_ARRAY_TASK_ID:-0}"\n'
        f"export PYTHONPATH={shlex.quote(str(library))} LANG=C.UTF-8\n"
        f'exec {settings.python} -S -P -m gpus.agent.slurm.node "$1" {settings.go_seconds:g} '
        f"{shlex.quote(settings.device_nodes)}\n"
    )


def place_of(attempt: Attempt) -> Place | None:
    stored = durable.read_json(attempt.folder / "batch.json") or {}
    name, index = stored.get("name"), stored.get("index")
    if not isinstance(name, str) or not (index is None or isinstance(index, int)):
        return None
    return Place(name, index)


def tries(attempt: Attempt) -> int:
    """Count how often this attempt was handed to sbatch."""
    stored = durable.read_json(attempt.folder / "batch.json") or {}
    return stored.get("tries", 0) if isinstance(stored.get("tries"), int) else 0


def keep_place(attempt: Attempt, place: Place) -> None:
    record: dict[str, Any] = {"name": place.name, "index": place.index, "tries": tries(attempt) + 1}
    durable.write_json(attempt.folder / "batch.json", record)


def job_of(attempt: Attempt) -> str | None:
    key = (durable.read_json(attempt.folder / "job.json") or {}).get("key")
    return key if isinstance(key, str) else None


def keep_job(attempt: Attempt, key: str) -> None:
    durable.write_json(attempt.folder / "job.json", {"key": key})


def ready_of(attempt: Attempt) -> dict[str, Any] | None:
    """Read which job came first on its node, if one has."""
    ready = durable.read_json(attempt.folder / "ready.json")
    return ready if ready is not None and isinstance(ready.get("key"), str) else None


def said(root: Path, number: str) -> str:
    """Read the end of what Slurm wrote about a job."""
    if not number.isdecimal():
        return ""
    try:
        with (root / "out" / number).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
