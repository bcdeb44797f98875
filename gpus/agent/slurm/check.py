"""What `doctor` looks at where this host stands for a partition; the last look is a job on one of its nodes."""

from __future__ import annotations

import os
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..executors import Finding
from .commands import Commands, SlurmAway, SlurmRefused
from .inventory import take
from .settings import SlurmSettings

if TYPE_CHECKING:
    from ..config import Config

JOB_SECONDS = 20
PROGRAMS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")


def examine(settings: SlurmSettings, config: Config) -> Iterator[Finding]:
    """Look at the commands, the controller, the partition, the shared folder, and a node."""
    path = f"{settings.bin_dir}:{os.environ.get('PATH', os.defpath)}" if settings.bin_dir else None
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        yield Finding("slurm", False, f"{', '.join(missing)} not found", "apt install slurm-client")
        return
    commands = Commands(settings)
    try:
        facts = commands.configuration()
        nodes = commands.nodes()
    except (SlurmAway, SlurmRefused) as why:
        yield Finding("slurm", False, str(why), "scontrol ping; systemctl status munge slurmctld")
        return
    yield Finding("slurm", True, f"{facts.get('ClusterName', '?')}, Slurm {facts.get('SLURM_VERSION', '?')}")
    if facts.get("ProctrackType") == "proctrack/pgid":
        mend = "set ProctrackType=proctrack/cgroup in slurm.conf, then restart slurmctld and every slurmd"
        yield Finding("tracking", False, "proctrack/pgid loses programs that leave their process group", mend)
    if not nodes:
        yield Finding("partition", False, f"{settings.partition} has no nodes", "sinfo --all")
        return
    yield from _gpus(settings, take(nodes, settings, settings.cluster or facts.get("ClusterName", "")))
    if (fault := _shared(settings)) is not None:
        yield fault
        return
    yield _node(settings, commands, "" if config.unsandboxed else config.bubblewrap)


def _gpus(settings: SlurmSettings, found) -> Iterator[Finding]:  # type: ignore[no-untyped-def]
    number = len(found.reports)
    says = f"{settings.partition}: {number} GPUs on {len({gpu.node for gpu in found.devices.values()})} nodes"
    mend = "" if number else f"sinfo -N -p {settings.partition} -o '%N %T %G'; describe the GRES types in [slurm.gpus]"
    yield Finding("partition", bool(number), says, mend)
    for type_ in sorted(found.unknown):
        yield Finding(
            "gpus", False, f"GRES type {type_} is not described", f"add [slurm.gpus.{type_}] to the agent's file"
        )
    for node, state in found.unfit.items():
        yield Finding("node", False, f"{node} is {state}", f"scontrol update nodename={node} state=resume")


def _shared(settings: SlurmSettings) -> Finding | None:
    folder = Path(settings.shared_dir)
    if folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return None
    mend = f"install -d -m 700 -o {os.geteuid()} {folder}"
    return Finding("shared", False, f"{folder} cannot be written by this user", mend)


def _node(settings: SlurmSettings, commands: Commands, sandbox: str) -> Finding:
    """Run a job that looks for the shared folder, for Python, and for the sandbox; cancel it if it has to wait."""
    mark = Path(settings.shared_dir) / f".doctor-{uuid.uuid4().hex}"
    mark.mkdir(mode=0o700)
    try:
        return _asked(settings, commands, sandbox, mark)
    except (SlurmAway, SlurmRefused) as why:
        return Finding("job", False, f"a job was refused: {why}", f"sbatch -p {settings.partition} --wrap true")
    finally:
        shutil.rmtree(mark, ignore_errors=True)


def _asked(settings: SlurmSettings, commands: Commands, sandbox: str, mark: Path) -> Finding:
    python = f"{settings.python} -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1"
    box = f"{sandbox} --unshare-all --ro-bind / / true >/dev/null 2>&1" if sandbox else "true"
    said = shlex.quote(str(mark / "said"))
    script = (
        f"#!/bin/sh\ncd {shlex.quote(str(mark))} || exit 1\n"
        f"{python} && a=1 || a=0\n{box} && b=1 || b=0\n"
        f'echo "$SLURMD_NODENAME $a $b" >{said}.part && mv {said}.part {said}\n'
    )
    options = ["--job-name=gaas-doctor", f"--partition={settings.partition}", "--time=2", "--mem=64M", "--no-requeue"]
    options += ["--export=NIL", "--chdir=/", "--output=/dev/null", *settings.sbatch_options]
    number = commands.submit(options, script)
    until = time.monotonic() + JOB_SECONDS
    while not (mark / "said").exists():
        job = next((job for job in commands.jobs() if job.key == number), None)
        if job is not None and job.state not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "COMPLETED"):
            says = f"a job on {job.node} ended as {job.state}: it does not see {settings.shared_dir}"
            return Finding("job", False, says, f"mount {settings.shared_dir} on every node, under this name")
        if time.monotonic() > until:
            commands.cancel(number)
            if job is not None and job.state == "PENDING":
                return Finding("job", True, f"no node was free to look at ({job.reason}); nodes were not looked at")
            says = f"a job left nothing in {settings.shared_dir} within {JOB_SECONDS} s"
            return Finding("job", False, says, f"mount {settings.shared_dir} on every node, under this name")
        time.sleep(0.25)
    node, has_python, has_box = (mark / "said").read_text().split()
    if has_python != "1":
        mend = "apt install python3 (3.11 or newer) on every node, or name one by slurm.python"
        return Finding("job", False, f"{settings.python} on {node} is not Python 3.11", mend)
    if has_box != "1":
        mend = "apt install bubblewrap on every node; sysctl -w kernel.unprivileged_userns_clone=1"
        return Finding("job", False, f"bubblewrap does not work on {node}", mend)
    return Finding(
        "job",
        True,
        f"a job on {node} found the shared folder, Python and {'the sandbox' if sandbox else 'no need of a sandbox'}",
    )
