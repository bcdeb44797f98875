"""Getting a task's image: when to pull, how far it is, and whose fault it is when it does not come."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from .. import durable
from ..images import ALWAYS, NEVER, full
from ..phase import Unprepared
from ..protocol import FAULT_HOST, FAULT_USER
from .engine import Engine, EngineError, registry_auth

if TYPE_CHECKING:
    from ..phase import Phase

_DENIED = (
    "unauthorized",
    "authentication required",
    "access to the resource is denied",
    "requires authentication",
    "no basic auth",
)
_ABSENT = ("manifest unknown", "name unknown", "not found", "does not exist", "no such image", "invalid reference")
_PULL_SILENCE_SECONDS = 0.5


class Images:
    """The images of one engine, as tasks may use them.

    An image that was pulled with a log-in stays on the host, where any task could name it. So it is noted
    with which log-in it came, and whoever shows another one has to pull it too, which the registry judges.
    """

    def __init__(self, engine: Engine, notes: Path):
        self._engine, self._notes = engine, notes

    def get(self, image: str, policy: str, login: dict[str, str] | None, phase: Phase) -> None:
        """Have the image here. Raises Unprepared: `image_not_found` and `image_denied` are the user's to mend."""
        image = full(image)
        if policy != ALWAYS and self._is_here(image) and (policy == NEVER or self._may_use(image, login)):
            return
        if policy == NEVER:
            raise Unprepared(FAULT_HOST, "image_missing", f"The image {image} is not on this host; it is not pulled.")
        self._pull(image, login, phase)
        if login is not None:
            self._note(image, login)

    def _is_here(self, image: str) -> bool:
        try:
            self._engine.call("GET", f"/images/{quote(image, safe='/:@')}/json")
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _pull(self, image: str, login: dict[str, str] | None, phase: Phase) -> None:
        phase.say(f"Pulling {image}")
        headers = {"X-Registry-Auth": registry_auth(login)} if login else {}
        layers: dict[str, tuple[int, int]] = {}
        try:
            for said in self._engine.lines(
                "/images/create", query={"fromImage": image}, headers=headers, silence=_PULL_SILENCE_SECONDS
            ):
                phase.check()
                if said is None:
                    continue
                if why := said.get("error"):
                    raise EngineError(0, " ".join(str(why).split())[:500])
                if (percent := _percent(layers, said)) is not None:
                    phase.say(f"Pulling {image}", percent)
        except EngineError as error:
            raise _unpulled(image, error) from error

    def _may_use(self, image: str, login: dict[str, str] | None) -> bool:
        known = (durable.read_json(self._notes) or {}).get(image)
        return not isinstance(known, list) or (login is not None and _mark(login) in known)

    def _note(self, image: str, login: dict[str, str]) -> None:
        notes = durable.read_json(self._notes) or {}
        known = notes.get(image)
        marks = known if isinstance(known, list) else []
        if _mark(login) not in marks:
            durable.write_json(self._notes, {**notes, image: [*marks, _mark(login)]})


def _mark(login: dict[str, str]) -> str:
    words = "\0".join((login["server"], login["username"], login["password"]))
    return hashlib.sha256(words.encode()).hexdigest()


def _percent(layers: dict[str, tuple[int, int]], said: dict) -> float | None:
    detail, layer = said.get("progressDetail"), said.get("id")
    if not isinstance(detail, dict) or not isinstance(layer, str):
        return None
    current, total = detail.get("current"), detail.get("total")
    if said.get("status") == "Downloading" and isinstance(current, int) and isinstance(total, int) and total > 0:
        layers[layer] = (min(current, total), total)
    elif layer in layers:
        layers[layer] = (layers[layer][1], layers[layer][1])
    whole = sum(total for _, total in layers.values())
    return 100 * sum(current for current, _ in layers.values()) / whole if whole else None


def _unpulled(image: str, error: EngineError) -> Unprepared:
    says = error.says.lower()
    if any(word in says for word in _DENIED):
        detail = f"The registry does not give the image {image} to this account: {error.says}"
        return Unprepared(FAULT_USER, "image_denied", detail)
    if "no such host" not in says and any(word in says for word in _ABSENT):
        return Unprepared(FAULT_USER, "image_not_found", f"There is no image {image}: {error.says}")
    if "no space left" in says:
        return Unprepared(FAULT_HOST, "disk", f"The disk is full: the image {image} does not fit.")
    return Unprepared(FAULT_HOST, "image_pull_failed", f"The image {image} could not be pulled: {error.says}")
