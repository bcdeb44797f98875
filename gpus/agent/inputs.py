"""What an attempt needs from elsewhere before its program starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempt import Attempt
    from .client import Client
    from .phase import Phase


def fetch(attempt: Attempt, client: Client, phase: Phase) -> None:
    """Bring everything into the attempt's `box/input`, and its checkpoint into `box/checkpoint`.

    Called before each start, so again after the agent was killed in the middle. Raises
    phase.Unprepared(fault, code, detail), such as user `input_missing` or host `disk`. Of what a Client raises,
    Unreachable lets the runner try again from the beginning and LeaseLost ends the attempt; any other Refused would
    drop it without a word, so make it an Unprepared.
    """
