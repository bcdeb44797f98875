"""A program in a container, as its supervisor starts, watches and ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import durable, kernel, processes
from ..attempt import CONTAINER
from ..protocol import FAULT_HOST, FAULT_USER
from .engine import Engine, EngineError, frames
from .program import Ending, NotStarted, Program

if TYPE_CHECKING:
    from ..attempt import Attempt, Order
    from ..streams import Streams

LOOK_SECONDS = 1.0
LAST_OUTPUT_SECONDS = 5.0
REMOVAL_SECONDS = 0.5


class Used:
    """What the kernel counts for a container, of which nothing is left when that has ended."""

    def __init__(self) -> None:
        self._peak = self._cpu_ns = 0

    def look(self, pid: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
                number, controllers, path = line.split(":", 2)
                # In an engine's own cgroup alone: the root would count the whole machine.
                if path.strip("/"):
                    self._count(number, controllers.split(","), Path("/sys/fs/cgroup"), path.strip("/"))

    def _count(self, number: str, controllers: list[str], top: Path, path: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if "memory" in controllers:
                self._peak = max(self._peak, int((top / "memory" / path / "memory.max_usage_in_bytes").read_text()))
            elif "cpuacct" in controllers:
                self._cpu_ns = max(self._cpu_ns, int((top / "cpuacct" / path / "cpuacct.usage").read_text()))
            elif number == "0" and (top / path / "cpu.stat").exists():
                stat = dict(line.split() for line in (top / path / "cpu.stat").read_text().splitlines())
                self._cpu_ns = max(self._cpu_ns, int(stat.get("usage_usec", 0)) * 1000)
                self._peak = max(self._peak, int((top / path / "memory.peak").read_text()))

    @property
    def is_counted(self) -> bool:
        return self._peak > 0

    def read(self) -> dict:
        return {"peak_rss_mib": self._peak >> 20, "cpu_seconds": round(self._cpu_ns / 1e9, 3)}


class ContainedProgram(Program):
    """Start the container that the executor made. The engine's word says whether it runs, /proc what is in it."""

    def __init__(self, attempt: Attempt, order: Order, streams: Streams):
        super().__init__(attempt, order, streams)
        self.engine, self.name = Engine(order.engine), order.container
        self._state: dict = {}
        self._looked_at = 0.0
        self._ended = threading.Event()
        self._is_told = self._is_cut_off = False
        self._terminated: set[int] = set()
        self._pid = 0
        self._used = Used()

    @property
    def limits_memory(self) -> bool:  # type: ignore[override]
        """Tell whether there is a cgroup that counts, and so keeps the limit."""
        return self._used.is_counted

    def start(self) -> None:
        self._oom_kills = kernel.out_of_memory_kills()
        try:
            output = self.engine.attach(self.name)
            self._guard()
            self.engine.call("POST", f"/containers/{self.name}/start")
            waiting = self.engine.wait(self.name)
        except EngineError as error:
            with contextlib.suppress(EngineError):
                self.engine.remove(self.name)
            raise NotStarted(FAULT_HOST, "container_failed", f"The container did not start: {error.says}") from error
        os.close(self.streams.progress_end)
        self._pump = threading.Thread(target=self._copy, args=(output,), daemon=True)
        self._pump.start()
        threading.Thread(target=self._await, args=(waiting,), daemon=True).start()

    def _guard(self) -> None:
        """Leave a process behind that removes the container when this one is killed: nobody else may be there to.

        Only it and this process know of the pipe between them, which closes with this one.
        """
        watched, self._alive = os.pipe()
        if os.fork() != 0:
            os.close(watched)
            return
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, watched)
        os.closerange(watched + 1, os.sysconf("SC_OPEN_MAX"))
        while True:
            if not os.read(watched, 1):
                break
        for _ in range(60):
            try:
                self.engine.remove(self.name)
                break
            except Exception:
                time.sleep(1)
        os._exit(0)

    def _copy(self, output: socket.socket) -> None:
        """Bring the output into the pipe that the supervisor reads; it waits while that is full."""
        with contextlib.suppress(OSError), output:
            for _, chunk in frames(output.recv):
                while chunk:
                    chunk = chunk[os.write(self.streams.output_end, chunk) :]
        with contextlib.suppress(OSError):
            os.close(self.streams.output_end)

    def _await(self, waiting: socket.socket) -> None:
        """Hear of the end at once: by a signal to this process, which wakes what it waits for."""
        with contextlib.suppress(OSError), waiting:
            said = b""
            while more := waiting.recv(4096):
                said = said[-4096:] + more
            self._is_cut_off = b"StatusCode" not in said
        self._ended.set()
        os.kill(os.getpid(), signal.SIGCHLD)

    def _look(self) -> None:
        try:
            found = self.engine.inspect(self.name)
        except EngineError:
            return  # an engine that is being restarted says nothing about the container
        self._looked_at = time.monotonic()
        if found is None:
            self._state = {**self._state, "Running": False, "Gone": True}
        else:
            self._state = found.get("State") or {}
            if (pid := self._state.get("Pid")) and pid != self._pid:
                self._pid = pid
                durable.write_json(self.attempt.folder / CONTAINER, {"pid": pid}, durable=False)
            if pid:
                self._used.look(pid)

    def has_ended(self) -> bool:
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        if self._ended.is_set() or time.monotonic() - self._looked_at >= LOOK_SECONDS or not self._state:
            self._ended.clear()
            self._look()
        return self._state.get("Running") is False

    def tree(self) -> list[processes.Process]:
        """List what is in the container: its first process and all below it. Nothing of it can leave."""
        if self._state.get("Running") is not True or not self._pid:
            return []
        among = processes.snapshot()
        first = among.get(self._pid)
        below = processes.descendants([self._pid], among)
        return [process for process in ([first] if first else []) + below if process.is_alive]

    def terminate(self) -> None:
        """Send TERM to the first process; of a script also to the command that its shell waits for.

        Where the engine does not pass it on now, nobody is told yet: a shell that hears only of its command's end
        goes on, or ends without what it keeps for a TERM. It is asked again at the next look.
        """
        if not self._is_told:
            with contextlib.suppress(EngineError):
                self._is_told = self.engine.signal(self.name, "SIGTERM")
            if not self._is_told:
                return
        if "script" not in self.assignment.payload:
            return
        tree = self.tree()
        shells = {process.pid for process in tree if process.parent == self._pid}
        new = [p for p in tree if p.parent in shells and p.pid not in self._terminated]
        processes.send(new, signal.SIGTERM)
        self._terminated |= {process.pid for process in new}

    def is_gone(self) -> bool:
        return self.has_ended()

    def kill(self) -> None:
        """Kill the container, which takes along all that is in it, and take in the rest of its output."""
        while not self.has_ended():
            with contextlib.suppress(EngineError):
                self.engine.signal(self.name, "SIGKILL")
            self.streams.wait(0.2)
            self._ended.set()
        deadline = time.monotonic() + LAST_OUTPUT_SECONDS
        while self._pump.is_alive() and time.monotonic() < deadline:
            self.streams.wait(0.05)

    def exit_code(self) -> int | None:
        code = self._state.get("ExitCode")
        return code if isinstance(code, int) and not self._state.get("Gone") else None

    def ending(self, exit_code: int | None) -> Ending:
        if exit_code in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
            # Whoever removes a running container has it killed first.
            time.sleep(REMOVAL_SECONDS)
            self._look()
        if self._state.get("Gone"):
            return Ending(FAULT_HOST, "container_removed", "Somebody removed the container while it ran.")
        # Podman often does not say so, but the kernel counts.
        is_killed = exit_code == 128 + signal.SIGKILL and kernel.out_of_memory_kills() > self._oom_kills
        if self._state.get("OOMKilled") or is_killed:
            return Ending(
                FAULT_USER, "out_of_memory", "The kernel killed the program because it reached its memory limit."
            )
        if self._is_cut_off and exit_code in (None, 255, 128 + signal.SIGKILL, 128 + signal.SIGTERM):
            return Ending(FAULT_HOST, "engine_lost", "The container engine stopped and ended the program.")
        if exit_code is None or self._state.get("Error"):
            return Ending(FAULT_HOST, "container_failed", f"The engine says: {str(self._state.get('Error'))[:300]}.")
        ending = super().ending(exit_code)
        return Ending(ending.fault, ending.code, ending.detail.replace("on the host", "in the image"))

    def usage(self) -> dict:
        return self._used.read()
