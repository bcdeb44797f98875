"""The kinds of tasks, by registration: what a spec may say and what the host is handed.

An app that knows more kinds registers them in its `ready()`; `tasks` itself knows `script`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gaas.lib.errors import DomainError
from gpus.agent import images

if TYPE_CHECKING:
    from tasks.models import Task, TaskEvent

MAX_SCRIPT_BYTES = 256 * 1024
MAX_ARGUMENTS = 256
MAX_MEMORY_MIB = 16 * 1024 * 1024
MAX_ARGUMENT_BYTES = 32 * 1024


class InvalidSpec(DomainError):
    """Refuse a spec, naming the part of it."""

    code = "invalid"


class Kind(Protocol):
    """Say what one kind of task takes and makes.

    `validate` gives back the spec to store or raises InvalidSpec; `requirements` names the executor;
    `estimate` gives milliseconds of wall clock, or None; `attempt_payload` is what the executor gets. A kind may
    also have `may_go_on(spec)`: whether a task of that spec may do without an end (see `may_go_on` below).
    """

    def validate(self, spec: dict[str, Any], account: object) -> dict[str, Any]: ...

    def requirements(self, spec: dict[str, Any]) -> dict[str, Any]: ...

    def estimate(self, spec: dict[str, Any]) -> int | None: ...

    def attempt_payload(self, task: Task) -> dict[str, Any]: ...

    def on_event(self, task: Task, event: TaskEvent) -> None: ...


_kinds: dict[str, Kind] = {}


def register(name: str, kind: Kind) -> None:
    """Make a kind known; raises ValueError when the name is taken."""
    if name in _kinds:
        raise ValueError(f"the kind {name!r} is registered already")
    _kinds[name] = kind


def names() -> list[str]:
    return sorted(_kinds)


def get(name: str) -> Kind:
    """Give the kind of that name; raises InvalidSpec that lists the known ones."""
    try:
        return _kinds[name]
    except KeyError:
        raise InvalidSpec(f"Unknown kind; give one of: {', '.join(names())}.", attr="kind") from None


def may_go_on(kind: Kind, spec: dict[str, Any]) -> bool:
    """Tell whether a task may be submitted without hours: it runs, paid ahead hour by hour, until somebody ends it."""
    asked = getattr(kind, "may_go_on", None)
    return asked is not None and bool(asked(spec))


def _text(value: object, attr: str, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidSpec("A string is expected.", attr=attr)
    if "\0" in value:
        raise InvalidSpec("NUL bytes cannot be part of it.", attr=attr)
    if len(value.encode()) > limit:
        raise InvalidSpec(f"At most {limit} bytes fit.", attr=attr)
    return value


class Script:
    """A command (list of arguments) or a script text, in an image or in the host's sandbox."""

    FIELDS = frozenset({"command", "script", "image", "image_pull", "network", "memory_mib", "serve"})

    def validate(self, spec: dict[str, Any], account: object) -> dict[str, Any]:
        for name in spec:
            if name not in self.FIELDS:
                raise InvalidSpec(
                    f"Unknown field; a script takes {', '.join(sorted(self.FIELDS))}.",
                    code="unknown_field",
                    attr=f"spec.{name}",
                )
        if ("command" in spec) == ("script" in spec):
            raise InvalidSpec("Give either `command` (a list) or `script` (a text).", attr="spec")
        stored: dict[str, Any] = {}
        if "command" in spec:
            command = spec["command"]
            if not isinstance(command, list) or not command:
                raise InvalidSpec('Give a list of strings such as ["python3", "train.py"].', attr="spec.command")
            if len(command) > MAX_ARGUMENTS:
                raise InvalidSpec(f"At most {MAX_ARGUMENTS} arguments fit.", attr="spec.command")
            stored["command"] = [_text(part, f"spec.command.{i}", MAX_ARGUMENT_BYTES) for i, part in enumerate(command)]
            if not stored["command"][0].strip():
                raise InvalidSpec("The first argument names the program.", attr="spec.command.0")
        else:
            stored["script"] = _text(spec["script"], "spec.script", MAX_SCRIPT_BYTES)
            if not stored["script"].strip():
                raise InvalidSpec("The script is empty.", attr="spec.script")
        if "image" in spec:
            stored["image"] = _text(spec["image"], "spec.image", 512)
            if not images.is_reference(stored["image"]):
                raise InvalidSpec("Name an image such as python:3.11-slim.", attr="spec.image")
        if "image_pull" in spec:
            if "image" not in spec:
                raise InvalidSpec("There is no image to pull.", attr="spec.image_pull")
            if spec["image_pull"] not in images.POLICIES:
                raise InvalidSpec(f"Give one of {', '.join(images.POLICIES)}.", attr="spec.image_pull")
            stored["image_pull"] = spec["image_pull"]
        if "memory_mib" in spec:
            memory = spec["memory_mib"]
            if not isinstance(memory, int) or isinstance(memory, bool) or not 16 <= memory <= MAX_MEMORY_MIB:
                raise InvalidSpec(f"Give a whole number from 16 to {MAX_MEMORY_MIB}.", attr="spec.memory_mib")
            stored["memory_mib"] = memory
        network = spec.get("network", False)
        if not isinstance(network, bool):
            raise InvalidSpec("Give true or false.", attr="spec.network")
        stored["network"] = network
        if spec.get("serve", False) is not False:
            if spec["serve"] is not True:
                raise InvalidSpec("Give true: the program then listens on $GAAS_SERVE_SOCKET.", attr="spec.serve")
            stored["serve"] = True
        return stored

    def requirements(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {"executor": "container" if "image" in spec else "process"}

    def estimate(self, spec: dict[str, Any]) -> int | None:
        return None

    def may_go_on(self, spec: dict[str, Any]) -> bool:
        """Let a program that serves do without an end; one that computes has one."""
        return spec.get("serve") is True

    def attempt_payload(self, task: Task) -> dict[str, Any]:
        return dict(task.spec)

    def on_event(self, task: Task, event: TaskEvent) -> None:
        return None


register("script", Script())
