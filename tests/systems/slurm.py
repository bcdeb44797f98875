"""A Slurm cluster of three nodes on this one machine, as a private set of processes that leaves nothing behind.

Its own munge with its own key and socket, one slurmctld and three slurmd, each on a free port of loopback. Every node
claims some GPUs: character devices that are /dev/null, since Slurm sets CUDA_VISIBLE_DEVICES for devices alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers import Missing, free_port

NODES = ("n1", "n2", "n3")
GPUS_PER_NODE = 2
PARTITION = "gpu"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
START_SECONDS = 120
# How long until Slurm calls a node lost of which it hears nothing; its default is 300. It asks its nodes that much more
# often, and a job that begins while its node is asked may be taken for lost: not for figures.
SLURMD_SECONDS = 30

CONFIGURATION = """\
ClusterName=gaastest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters={scheduler}
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout={slurmd_seconds}
MessageTimeout=30
KillWait=5
MinJobAge=300
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
{nodes}
PartitionName={partition} Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Keep the processes of one cluster. `shared` is a folder that stands for the file system of all nodes."""

    def __init__(
        self,
        folder: Path,
        *,
        scheduler: str = "bf_interval=1,batch_sched_delay=0",
        gpus: int = GPUS_PER_NODE,
        slurmd: int = SLURMD_SECONDS,
    ) -> None:
        self.folder, self.shared = folder, folder / "shared"
        self.conf = folder / "slurm.conf"
        self.environment = {"PATH": _path(), "SLURM_CONF": str(self.conf), "LANG": "C.UTF-8"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        ports = {name: free_port() for name in ("controller", *NODES)}
        for name in ("munge", "state", "spool", "log", "dev", "shared"):
            (folder / name).mkdir(mode=0o755)
        folder.chmod(0o755)
        key = folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        nodes, devices = [], []
        for node in NODES:
            (folder / "dev" / node).mkdir()
            for index in range(gpus):
                # Major 1, minor 3: the null device.
                os.mknod(folder / "dev" / node / f"gpu{index}", 0o20666, os.makedev(1, 3))
            nodes.append(
                f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[node]} CPUs={max(8, gpus)} "
                f"RealMemory=65536 Gres=gpu:toy:{gpus}"
            )
            devices.append(f"NodeName={node} Name=gpu Type=toy File={folder}/dev/{node}/gpu[0-{gpus - 1}]")
        (folder / "gres.conf").write_text("\n".join(devices) + "\n")
        self.conf.write_text(
            CONFIGURATION.format(
                folder=folder,
                controller=ports["controller"],
                nodes="\n".join(nodes),
                names=",".join(NODES),
                partition=PARTITION,
                scheduler=scheduler,
                slurmd_seconds=slurmd,
            )
        )

    # -- its processes

    def start(self, name: str) -> None:
        """Start munged, slurmctld or the slurmd of a node, again too."""
        munge = self.folder / "munge"
        command = {
            "munged": ["munged", "--force", "--foreground", "--num-threads=2"]
            + [f"--{option}={munge / file}" for option, file in MUNGE_FILES.items()],
            "slurmctld": ["slurmctld", "-D"],
        }.get(name, ["slurmd", "-D", "-N", name])
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                env=self.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End one of them by SIGKILL; what jobs run on a node goes on."""
        self._running[name].kill()
        self._running[name].wait()

    def terminate(self, name: str) -> None:
        self._running[name].terminate()
        self._running[name].wait(60)

    def open(self) -> None:
        """Start everything; raises Missing when it does not come up."""
        for name in ("munged", "slurmctld", *NODES):
            self.start(name)
            if name == "munged":
                self._await("munged", lambda: (self.folder / "munge" / "socket").exists())
        self._await("the nodes", lambda: self.states() == dict.fromkeys(NODES, "idle"))

    def _await(self, what: str, look) -> None:  # type: ignore[no-untyped-def]
        until = time.monotonic() + START_SECONDS
        while not look():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > until:
                name = ended[0] if ended else "slurmctld"
                said = (self.folder / "log" / f"{name}.out").read_text(errors="replace").strip().splitlines()
                raise Missing(f"{what} did not come up: {name}: {said[-1] if said else 'it said nothing'}")
            time.sleep(0.1)

    def end(self) -> None:
        """End every job and every process, and remove the folder."""
        if "slurmctld" in self._running and self._running["slurmctld"].poll() is None:
            self.command("scancel", "--signal=KILL", "--full", f"--partition={PARTITION}", check=False)
            self.command("scancel", f"--partition={PARTITION}", check=False)
            until = time.monotonic() + 30
            while self.command("squeue", "-h", check=False).strip() and time.monotonic() < until:
                time.sleep(0.2)
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # slurmstepd and what it runs: nothing but a job of this cluster names this folder.
        while left := list(self.processes()):
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> Iterator[tuple[int, str]]:
        """Give every living process that names this cluster's folder, by its command line or environment."""
        mark = os.fsencode(self.folder)
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                    if mark in line + environment:
                        yield int(entry.name), line.replace(b"\0", b" ").decode(errors="replace").strip()

    # -- what it is asked

    def command(self, *command: str, check: bool = True, given: str = "") -> str:
        done = subprocess.run(
            command, input=given, env=self.environment, capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def states(self) -> dict[str, str]:
        """Give each node's state."""
        said = self.command("sinfo", "-h", "-N", "-o", "%N %T", check=False)
        return dict(line.split()[:2] for line in said.splitlines() if len(line.split()) == 2)

    def jobs(self) -> list[dict[str, str]]:
        """List all jobs that Slurm remembers."""
        said = self.command("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%N|%j|%F")
        return [
            dict(zip(("key", "state", "node", "name", "array"), line.split("|"), strict=True))
            for line in said.splitlines()
        ]

    def section(self, *, simulated: bool = True, **more: object) -> str:
        """Write the `[slurm]` section for an agent of this cluster."""
        values = {"partition": PARTITION, "shared_dir": str(self.shared), "conf": str(self.conf), "poll_seconds": 0.5}
        values |= {"settle_seconds": 1.0, "memory_mib_per_gpu": 256, **more}
        lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
        toy = '[slurm.gpus.toy]\nmodel = "Toy GPU"\nvram_mib = 24576\ncompute_capability = "8.0"\n'
        return "[slurm]\n" + "\n".join(lines) + f"\n\n{toy}simulated = {_toml(simulated)}\n"


MUNGE_FILES = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


def _toml(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, int | float)
        else f'"{value}"'
    )


def _path() -> str:
    return f"/usr/local/sbin:/usr/sbin:/sbin:{os.environ.get('PATH', os.defpath)}"


@contextmanager
def cluster(**how: object) -> Iterator[Slurm]:
    """Lend a cluster of one's own. Raises Missing."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
        raise Missing(f"no {missing[0]} on this machine")
    if os.geteuid() != 0:
        raise Missing("slurmd and device files need root")
    slurm = Slurm(Path(tempfile.mkdtemp(prefix="gaas-slurm-")), **how)  # type: ignore[arg-type]
    try:
        slurm.open()
        yield slurm
    finally:
        slurm.end()
