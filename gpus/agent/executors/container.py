"""Run a task's command in a container of Docker or Podman: what is made before the supervisor starts it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import durable
from ..attempt import CONTAINER, Order
from ..images import MISSING, POLICIES, is_reference
from ..phase import Unprepared
from ..protocol import FAULT_HOST
from . import Finding, engine, payload
from .engine import Engine, EngineError
from .images import Images
from .supervised import Supervised

if TYPE_CHECKING:
    from ..attempt import Attempt, Exit
    from ..config import Config
    from ..loop import Agent
    from ..phase import Phase
    from ..protocol import Assignment

BOX = "/task"
# Whoever runs tasks where the agent is root: a number that no distribution gives to anybody.
USER_ID = 59_777
WRITABLE = ("work", "output", "checkpoint")
AGENT_LABEL, ATTEMPT_LABEL = "gaas.agent", "gaas.attempt"
INITS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/bin/docker-init", "/usr/bin/tini-static")
OWN_INIT = f"{BOX}/.init"
MAKE_SECONDS = 300
GPU_CHECK_SECONDS = 60
REAP_SECONDS = 10


def name_of(attempt: Attempt) -> str:
    return f"gaas-{attempt.id}"


class ContainerExecutor(Supervised):
    """Make a container during PREPARING, so that only its start is left for what is charged."""

    name = "container"

    def __init__(self, agent: Agent):
        super().__init__(agent)
        self._held: set[str] = set()

    # -- what the host offers

    @classmethod
    def unusable(cls, config: Config) -> str | None:
        if config.slurm is not None:
            return "this host stands for a Slurm partition"
        found, why = engine.find(config)
        if found is None:
            return why
        try:
            return _unfit(found)
        except EngineError as error:
            return error.says

    @classmethod
    def examine(cls, config: Config) -> Iterator[Finding]:
        if config.slurm is not None:
            return
        found, why = engine.find(config)
        if found is None:
            is_meant = config.engine == engine.NONE or not (
                config.engine or shutil.which("docker") or shutil.which("podman")
            )
            mend = "" if is_meant else "systemctl enable --now docker (or podman.socket), and usermod -aG docker USER"
            yield Finding("containers", is_meant, f"{why}; tasks with an image go elsewhere" if is_meant else why, mend)
            return
        try:
            if (unfit := _unfit(found)) is not None:
                yield Finding(
                    "containers", False, f"{found.path}: {unfit}", "use an engine that runs as root, or Podman"
                )
                return
            version, info = found.call("GET", "/version"), found.call("GET", "/info")
            product = "Podman" if found.is_podman() else "Docker"
        except EngineError as error:
            yield Finding("containers", False, error.says, "systemctl restart docker (or podman.socket)")
            return
        yield Finding("containers", True, f"{product} {version.get('Version', '')} at {found.path}")
        if not info.get("MemoryLimit"):
            yield Finding("memory", False, "the engine cannot limit memory", "boot with cgroup_enable=memory")
        if product == "Podman" and _own_init() is None:
            yield Finding("init", False, "programs in containers cannot be asked to end", "apt install catatonit")

    # -- one attempt

    def adopt(self, attempts: list[Attempt]) -> None:
        """Remove the containers of attempts that are not held, as soon as the engine answers.

        Beside the loop: a slow engine must not hold up the first sync, on which the leases of all attempts depend.
        """
        self._held = {attempt.id for attempt in attempts}
        threading.Thread(target=self._reap_until_done, name="reap", daemon=True).start()

    def _reap_until_done(self) -> None:
        while not self._reap() and not self.agent.closing.wait(REAP_SECONDS):
            pass

    def _reap(self) -> bool:
        found, _ = engine.find(self.agent.config)
        if found is None:
            return self.agent.config.engine == engine.NONE
        try:
            for container in found.labelled(f"{AGENT_LABEL}={self.agent.session}"):
                attempt = (container.get("Labels") or {}).get(ATTEMPT_LABEL)
                if attempt not in self._held and attempt not in self.agent.runners:
                    found.remove(container["Id"])
        except EngineError:
            return False
        return True

    def refusal(self, assignment: Assignment) -> str | None:
        wanted = assignment.payload
        if not is_reference(wanted.get("image")):
            return "The payload names no image."
        if wanted.get("image_pull", MISSING) not in POLICIES:
            return f"image_pull is one of {', '.join(POLICIES)}."
        return payload.refusal(assignment)

    def prepare(self, attempt: Attempt, phase: Phase) -> None:
        """Get the image, check that its containers get the GPUs, and make the container."""
        assignment = attempt.assignment
        wanted = assignment.payload
        try:
            found = self._engine()
            images = Images(found, self.agent.state.path / "images.json")
            images.get(wanted["image"], wanted.get("image_pull", MISSING), assignment.registry, phase)
            phase.say("Making the container")
            # From here on something may have to be removed.
            durable.write_json(attempt.folder / CONTAINER, {})
            found.remove(name_of(attempt))
            self._give_folders(attempt)
            phase.check()
            gpus = [uuid for uuid in assignment.gpu_uuids if uuid in self.agent.devices.nodes]
            if gpus:
                check_gpus(
                    found, f"{name_of(attempt)}-gpus", self._container(attempt, found, ["nvidia-smi", "-L"]), gpus
                )
                phase.check()
            found.call(
                "POST",
                "/containers/create",
                self._container(attempt, found, self._argv(attempt)),
                query={"name": name_of(attempt)},
                timeout=MAKE_SECONDS,
            )
            if found.is_podman():
                found.init(name_of(attempt))
        except EngineError as error:
            raise Unprepared(
                FAULT_HOST, "container_failed", f"The container could not be made: {error.says}"
            ) from error

    def order(self, attempt: Attempt, limit_ms: int) -> Order:
        order = super().order(attempt, limit_ms)
        order.bubblewrap, order.engine, order.container = "", self._engine().path, name_of(attempt)
        return order

    def launch(self, attempt: Attempt, limit_ms: int) -> None:
        super().launch(attempt, limit_ms)
        attempt.forget_registry()

    def lost(self, attempt: Attempt) -> Exit:
        ended = super().lost(attempt)
        if ended.detail.startswith("The program's"):
            ended.detail = "The container's supervisor was lost."
        return ended

    def clear(self, attempt: Attempt) -> None:
        """Remove the container. Raises EngineError while the engine does not answer: the runner tries again."""
        if (attempt.folder / CONTAINER).exists():
            self._engine().remove(name_of(attempt))
        super().clear(attempt)

    # -- how a container is made

    def _engine(self) -> Engine:
        found, why = engine.find(self.agent.config)
        if found is None:
            raise EngineError(0, why)
        return found

    def _give_folders(self, attempt: Attempt) -> None:
        """Let the container's user write where it may. The state directory around them is closed to it and to all."""
        user, group = _user()
        for name in _writable(attempt):
            top = attempt.folder / "box" / name
            for folder, folders, files in os.walk(top):
                for entry in (folder, *(os.path.join(folder, part) for part in (*folders, *files))):
                    os.chown(entry, user, group, follow_symlinks=False)
            os.chmod(top, 0o700)
        for folder, _, files in os.walk(attempt.folder / "box" / "input"):
            os.chmod(folder, os.stat(folder).st_mode | 0o555)  # noqa: S103
            for path in (os.path.join(folder, file) for file in files):
                if not os.path.islink(path) and (mode := os.stat(path).st_mode) & 0o444 != 0o444:
                    os.chmod(path, mode | 0o444)

    def _argv(self, attempt: Attempt) -> list[str]:
        if (command := attempt.assignment.payload.get("command")) is not None:
            return list(command)
        return payload.script_argv(attempt.assignment, attempt.folder / "box", BOX)

    def _container(self, attempt: Attempt, found: Engine, argv: list[str]) -> dict[str, Any]:
        """Describe the container: what it may do is here, all of it."""
        assignment, config = attempt.assignment, self.agent.config
        gpus = [uuid for uuid in assignment.gpu_uuids if uuid in self.agent.devices.nodes]
        env = payload.environment(
            assignment,
            BOX,
            path=None,
            tmp="/tmp",  # noqa: S108
            progress_fd=1,  # only the standard streams lead out of a container
            simulated_gpus=self.agent.devices.simulated_among(assignment.gpu_uuids),
        )
        # An image or a task may name all GPUs, which the GPU runtime would believe.
        env |= {"USER": "task", "LOGNAME": "task", "NVIDIA_VISIBLE_DEVICES": ",".join(gpus) or "void"}
        env["GAAS_MEMORY_MIB"] = str(self.memory_mib(attempt))
        user, group = _user()
        is_podman = found.is_podman()
        mounts = [_bind(attempt, name, is_writable=True) for name in _writable(attempt)]
        mounts.append(_bind(attempt, "input", is_writable=False))
        init = _own_init() if is_podman else None
        if init is not None:
            # Podman's own wish for an init fails where its package is missing, so it is brought along.
            mounts.append({"Type": "bind", "Source": init, "Target": OWN_INIT, "ReadOnly": True})
            argv = [OWN_INIT, "--", *argv]
        memory = self.memory_mib(attempt) << 20
        host: dict[str, Any] = {
            "Mounts": mounts,
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={config.tmp_mib}m,mode=1777"},  # noqa: S108
            "ShmSize": config.tmp_mib << 20,
            "NetworkMode": config.container_network if assignment.payload.get("network") is True else "none",
            "ReadonlyRootfs": True,
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "IpcMode": "private",
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": config.max_processes,
            "OomScoreAdj": 500,
            "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in limits().items()],
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            **({} if is_podman else {"Init": True}),
            **_gpu_request(gpus, config),
        }
        if is_podman and os.geteuid() != 0:
            host["UsernsMode"] = "keep-id"
        cpus = assignment.payload.get("cpus")
        if isinstance(cpus, int | float) and not isinstance(cpus, bool) and cpus > 0:
            host["NanoCpus"] = int(cpus * 1_000_000_000)
        return {
            "Image": assignment.payload["image"],
            "Entrypoint": argv[:1],
            "Cmd": argv[1:],
            "Env": [f"{name}={value}" for name, value in env.items()],
            "User": f"{user}:{group}",
            "WorkingDir": f"{BOX}/work",
            "Hostname": "task",
            "Tty": False,
            "OpenStdin": False,
            "NetworkDisabled": False,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {AGENT_LABEL: self.agent.session, ATTEMPT_LABEL: attempt.id},
            "HostConfig": host,
        }


def check_gpus(found: Engine, name: str, container: dict[str, Any], gpus: list[str]) -> None:
    """Run the driver's own list in a container like the task's and compare. Raises Unprepared `gpu_missing`.

    Podman takes a request for GPUs and leaves it aside without a word; a driver may be there and its library not.
    """
    container = {**container, "HostConfig": {**container["HostConfig"], "LogConfig": {"Type": "json-file"}}}
    says = ""
    try:
        found.remove(name)
        found.call("POST", "/containers/create", container, query={"name": name}, timeout=MAKE_SECONDS)
        found.call("POST", f"/containers/{name}/start", timeout=GPU_CHECK_SECONDS)
        deadline = time.monotonic() + GPU_CHECK_SECONDS
        while ((found.inspect(name) or {}).get("State") or {}).get("Running") and time.monotonic() < deadline:
            time.sleep(0.1)
        shown = found.call("GET", f"/containers/{name}/logs", query={"stdout": 1, "stderr": 1})
        says = shown.decode(errors="replace") if isinstance(shown, bytes) else ""
    except EngineError as error:
        says = error.says
    finally:
        with contextlib.suppress(EngineError):
            found.remove(name)
    missing = [uuid for uuid in gpus if uuid not in says]
    if missing:
        # The frames of the stream are no text.
        words = " ".join("".join(sign if sign.isprintable() else " " for sign in says).split())[:300]
        detail = f"{len(missing)} of {len(gpus)} GPUs did not arrive in the container. It said: {words or 'nothing'}"
        raise Unprepared(FAULT_HOST, "gpu_missing", detail)


def _unfit(found: Engine) -> str | None:
    info = found.call("GET", "/info", timeout=4 * engine.PING_SECONDS)
    options = " ".join(map(str, info.get("SecurityOptions") or []))
    if info.get("OSType", "linux") != "linux":
        return "the engine does not run Linux containers"
    if "name=rootless" in options and not found.is_podman():
        return "rootless Docker maps users so that a task could not write its folders"
    if "seccomp" not in options:
        return "the engine does not filter system calls (seccomp)"
    # It says that it limits memory and processes, ignores both with a warning, and exits 0.
    if found.is_podman() and str(info.get("CgroupVersion")) == "1" and os.stat(found.path).st_uid:
        return "rootless Podman limits neither memory nor processes on cgroups of version 1; boot with version 2"
    return None


def _writable(attempt: Attempt) -> tuple[str, ...]:
    """Name the folders that the container may write; one that serves makes its socket in its own, and needs no port."""
    return (*WRITABLE, "serve") if "serve" in attempt.assignment.payload else WRITABLE


def _user() -> tuple[int, int]:
    user, group = os.geteuid(), os.getegid()
    return (USER_ID, USER_ID) if user == 0 else (user, group)


def _bind(attempt: Attempt, name: str, *, is_writable: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(attempt.folder / "box" / name),
        "Target": f"{BOX}/{name}",
        "ReadOnly": not is_writable,
    }


def _own_init() -> str | None:
    return next((path for path in INITS if os.access(path, os.X_OK)), None)


def limits() -> dict[str, tuple[int, int]]:
    """Name the limits that an engine would else set to numbers that it may not be allowed to reach."""
    most = {"core": 0, "nofile": 1_048_576, "nproc": int(open("/proc/sys/kernel/pid_max").read())}  # noqa: SIM115
    found = {}
    for name, bound in most.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        hard = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        found[name] = (hard, hard)
    return found


def _gpu_request(gpus: list[str], config: Config) -> dict[str, Any]:
    if not gpus:
        return {}
    if config.container_gpus == "cdi":
        return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in gpus]}]}
    return {
        "DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": gpus, "Capabilities": [["gpu", "utility", "compute"]]}]
    }
