"""A program that is a process of this host: how it is started, watched and ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import kernel, processes
from ..attempt import Attempt, Order
from ..cgroups import Cgroup
from ..protocol import FAULT_HOST, FAULT_USER, Assignment
from ..streams import Streams
from . import bubblewrap
from .payload import PATH, environment, script_argv
from .program import Ending, Program

# exec by the shell, so that a command that is not there ends with 127 and says so in the log,
# inside a sandbox and outside alike.
EXEC = ("/bin/sh", "-c", 'exec "$@"', "sh")

# A limit on tasks counts threads; a trainer with a pool in each of its workers has many.
THREADS_PER_PROCESS = 8


@dataclass
class Launch:
    """What to execute; `descriptors` are those that the program inherits."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    descriptors: list[int]
    status_fd: int | None = None  # bubblewrap's reports, where it is used


def _command(assignment: Assignment, box: Path, inside: str) -> list[str]:
    if (command := assignment.payload.get("command")) is not None:
        return [*EXEC, *command]
    words = script_argv(assignment, box, inside)
    return words if words[0] == "/bin/sh" else [*EXEC, *words]


def _environment(assignment: Assignment, order: Order, inside: str, tmp: str, progress_fd: int) -> dict[str, str]:
    python_path = [f"{prefix}/bin" for prefix in bubblewrap.python_binds()]
    env = environment(
        assignment,
        inside,
        path=":".join([PATH, *python_path]),
        tmp=tmp,
        progress_fd=progress_fd,
        simulated_gpus=order.simulated_gpus,
    )
    if order.visible_devices is not None:
        env["CUDA_VISIBLE_DEVICES"] = order.visible_devices
    if order.memory_mib:
        env["GAAS_MEMORY_MIB"] = str(order.memory_mib)
    return env


def _holding(data: str | bytes) -> int:
    """Open a descriptor from which the data can be read."""
    fd = os.memfd_create("gaas")
    os.write(fd, data if isinstance(data, bytes) else data.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def launch(assignment: Assignment, order: Order, folder: Path, progress_fd: int) -> Launch:
    """Say what to execute. `progress_fd` is the writing end that the program is to have."""
    box = folder / "box"
    if not order.bubblewrap:
        return Launch(
            argv=_command(assignment, box, str(box)),
            env=_environment(assignment, order, str(box), str(box / "tmp"), progress_fd),
            cwd=str(box / "work"),
            descriptors=[progress_fd],
        )
    status_read, status_write = os.pipe()
    data = {
        "/etc/passwd": _holding(bubblewrap.PASSWD),
        "/etc/group": _holding(bubblewrap.GROUP),
        "/etc/hosts": _holding(bubblewrap.HOSTS),
        "/etc/nsswitch.conf": _holding(bubblewrap.NSSWITCH),
    }
    network: Any = assignment.payload.get("network")
    arguments = bubblewrap.arguments(
        order.bubblewrap,
        box,
        network=network is True,
        ro_binds=order.ro_binds,
        device_nodes=order.device_nodes,
        tmp_mib=order.tmp_mib,
        data=data,
        status_fd=status_write,
    )
    arguments_fd = _holding(b"".join(os.fsencode(word) + b"\0" for word in arguments))
    return Launch(
        argv=[order.bubblewrap, "--args", str(arguments_fd), "--", *_command(assignment, box, bubblewrap.BOX)],
        env=_environment(assignment, order, bubblewrap.BOX, "/tmp", progress_fd),  # noqa: S108
        cwd="/",
        descriptors=[progress_fd, status_write, arguments_fd, *data.values()],
        status_fd=status_read,
    )


class LocalProgram(Program):
    """A child of the supervisor, which adopts whatever it leaves behind."""

    def __init__(self, attempt: Attempt, order: Order, streams: Streams):
        super().__init__(attempt, order, streams)
        self.status: int | None = None  # wait status of the program
        self.cgroup: Cgroup | None = None
        self._out_of_memory = False
        self._refused_forks = 0
        self._terminated: set[int] = set()

    def start(self) -> None:
        kernel.adopt_orphans()
        kernel.go_first()
        self._supervisor = os.getpid()
        self.oom_kills = kernel.out_of_memory_kills()
        plan = launch(self.assignment, self.order, self.attempt.folder, self.streams.progress_end)
        self.cgroup = self._make_cgroup()
        self.limits_memory = self.cgroup is not None
        program = subprocess.Popen(
            plan.argv,
            env=plan.env,
            cwd=plan.cwd,
            stdin=subprocess.DEVNULL,
            stdout=self.streams.output_end,
            stderr=self.streams.output_end,
            pass_fds=plan.descriptors,
            process_group=0,
            preexec_fn=self._bind,
        )
        self.pid = program.pid
        program.returncode = 0  # reaped below with all that is adopted, never by Popen
        self.streams.started(plan.descriptors, plan.status_fd)

    def _make_cgroup(self) -> Cgroup | None:
        if self.order.cgroups is None:
            return None
        cgroup = Cgroup(self.order.cgroups, self.attempt.id)
        try:
            cgroup.make(
                memory_bytes=self.order.memory_mib << 20 or None,
                tasks=self.order.max_processes * THREADS_PER_PROCESS,
                gpus=len(self.assignment.gpu_uuids),
            )
        except OSError as error:
            sys.stderr.write(f"limits are kept by looking, not by a cgroup: {error}\n")
            cgroup.remove()
            return None
        return cgroup

    def _bind(self) -> None:
        """Prepare the child between fork and exec."""
        kernel.bind_child(self._supervisor, may_gain_rights=bool(self.order.bubblewrap))
        if self.cgroup is not None:
            self.cgroup.enter()

    def has_ended(self) -> bool:
        self._reap()
        return self.status is not None

    def _reap(self) -> bool:
        """Take in what has ended; say whether no child is left at all.

        Every orphan below becomes a child of this process, so no child means that the whole tree is gone.
        """
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            return True

    def tree(self) -> list[processes.Process]:
        return [p for p in processes.descendants([os.getpid()], processes.snapshot()) if p.is_alive]

    def terminate(self) -> None:
        """Send TERM, once each, to the program and to what it leaves behind when it goes.

        Not to its workers: a trainer that loses them while it saves has nothing to save. A script's shell
        runs its trap only after the command in its foreground, so that command is told as well.
        """
        tree = self.tree()
        tops = {os.getpid()}
        frame: set[int | None] = set()
        if self.order.bubblewrap:
            # bubblewrap and its init are left out: their death would kill the rest at once.
            init = self.streams.sandbox_report().get("child-pid")
            tops, frame = {init or self.pid}, {self.pid, init}
        told = [process for process in tree if process.parent in tops]
        if "script" in self.assignment.payload:
            shells = {process.pid for process in told}
            told += [process for process in tree if process.parent in shells]
        new = [process for process in told if process.pid not in frame | self._terminated]
        processes.send(new, signal.SIGTERM)
        self._terminated |= {process.pid for process in new}

    def trouble(self) -> Ending | None:
        if self.cgroup is not None and self.cgroup.out_of_memory_kills() > 0:
            self._out_of_memory = True
        if not self._out_of_memory:
            return None
        detail = f"The program needed more memory than it may use; its limit is {self.order.memory_mib} MiB."
        return Ending(FAULT_USER, "out_of_memory", detail)

    def kill(self) -> None:
        """Kill by what no fork is quicker than, where there is such a thing; then look at what is left."""
        if self.cgroup is not None:
            self.cgroup.kill()
        init = self.streams.sandbox_report().get("child-pid")
        if init is not None and self.status is None and processes.parent_of(init) == self.pid:
            # The first process of a PID namespace: the kernel lets nothing be forked there while it takes it down.
            kernel.go_first(init)
            processes.send_to(init, signal.SIGKILL)
        processes.kill_all(self.tree, is_over=self._reap, children=processes.own_children)
        self.trouble()  # what its cgroup knows goes with it
        if self.cgroup is not None:
            self._refused_forks = self.cgroup.refused_forks()
        if self.cgroup is not None and not self.cgroup.remove():
            sys.stderr.write("its cgroup could not be removed\n")

    def exit_code(self) -> int | None:
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        return 128 - code if code is not None and code < 0 else code  # as a shell shows a signal

    def ending(self, exit_code: int | None) -> Ending:
        if (trouble := self.trouble()) is not None:
            return trouble
        if self._refused_forks:
            detail = f"The program was refused more processes; the limit is {self.order.max_processes}."
            return Ending(FAULT_USER, "too_many_processes", detail)
        if self.order.bubblewrap and exit_code == 1 and "exit-code" not in self.streams.sandbox_report():
            return Ending(FAULT_HOST, "sandbox_failed", "The sandbox could not be set up; the log says why.")
        if exit_code == 128 + signal.SIGKILL and kernel.out_of_memory_kills() > self.oom_kills:
            if self.limits_memory:  # it had kept to its part
                return Ending(FAULT_HOST, "host_out_of_memory", "The host ran out of memory and killed the program.")
            return Ending(FAULT_USER, "out_of_memory", "The kernel killed the program because memory ran out.")
        return super().ending(exit_code)

    def usage(self) -> dict:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"peak_rss_mib": used.ru_maxrss >> 10, "cpu_seconds": round(used.ru_utime + used.ru_stime, 3)}
