"""What a program left for the platform to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import results

if TYPE_CHECKING:
    from .attempt import Attempt, Exit
    from .client import Client
    from .phase import Phase


@dataclass
class Collected:
    """What `finish` tells of it. `note` is a sentence for the end's detail when something was not taken."""

    result: Any = None
    note: str = ""


def collect(attempt: Attempt, ended: Exit, client: Client, phase: Phase) -> Collected:
    """Take what lies in the attempt's folders, after its last process is gone and before its end is told.

    Called again after the agent was killed in the middle. Everything in these folders is the program's
    doing: links, devices and names of any kind. Of what a Client raises, Unreachable lets the runner call
    again and LeaseLost ends the attempt; any other Refused would drop the end, so make it a note.
    """
    try:
        return Collected(results.read(attempt.folder / "box" / "output"))
    except results.BadResult as bad:
        return Collected(note=str(bad))
