"""What GPUs do that Slurm gave to attempts: measured on their node, left in the attempt's folder, told by the agent.

Of simulated GPUs there is nothing to measure, and nothing is told.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .. import durable
from . import batch

if TYPE_CHECKING:
    from ..attempt import Attempt
    from .inventory import Device

FILE = "samples.json"
SECONDS = 5.0
# By the node's own clock. What is older was measured before its driver began to hang.
FRESH_MS = 3 * SECONDS * 1000
MEASURED = ("utilisation", "memory_mib", "power_w", "temperature_c")
MOST = 1e9  # and no NaN, which no server would take


class Sampler(threading.Thread):
    """Measure beside the supervisor, which a driver that hangs must not hold up. `nodes` are device nodes by index."""

    def __init__(self, attempt: Attempt, nodes: dict[int, str]):
        super().__init__(name="samples", daemon=True)
        self.attempt, self.nodes = attempt, nodes

    def run(self) -> None:
        try:
            from .. import metrics  # not before the program runs, for which nothing of it is needed
        except ImportError as error:
            sys.stderr.write(f"its GPUs are not measured: {error}\n")
            return
        while True:
            found = metrics.behind(self.nodes.values())
            told = {str(index): found[node] for index, node in self.nodes.items() if node in found}
            with contextlib.suppress(OSError):
                sample = {"elapsed_ms": self.attempt.elapsed_ms(), "gpus": told}
                durable.write_json(self.attempt.folder / FILE, sample, durable=False)
            time.sleep(SECONDS)


def measured(attempt: Attempt, devices: dict[str, Device]) -> list[dict[str, Any]]:
    """Give what the node measured of late, under the ids of the GPUs that were assigned."""
    stored = durable.read_json(attempt.folder / FILE) or {}
    elapsed_ms, told = stored.get("elapsed_ms"), stored.get("gpus")
    if not isinstance(elapsed_ms, int) or not isinstance(told, dict):
        return []
    if abs(attempt.elapsed_ms() - elapsed_ms) > FRESH_MS:
        return []
    samples = [{"gpu": uuid, **_plain(told.get(str(index)))} for uuid, index in _given(attempt, devices).items()]
    return [sample for sample in samples if len(sample) > 1]


def _given(attempt: Attempt, devices: dict[str, Device]) -> dict[str, int]:
    """Pair the GPUs that were assigned with those that Slurm gave: it chooses among those of a node."""
    ready, uuids = batch.ready_of(attempt) or {}, attempt.assignment.gpu_uuids
    given = [index for index in ready.get("gpus") or [] if isinstance(index, int)]
    there = {uuid: devices[uuid].index for uuid in uuids if uuid in devices and devices[uuid].node == ready.get("node")}
    pairs = {uuid: index for uuid, index in there.items() if index in given}
    others = [index for index in given if index not in pairs.values()]
    return pairs | dict(zip((uuid for uuid in uuids if uuid not in pairs), others, strict=False))


def _plain(values: Any) -> dict[str, float]:
    """Keep numbers alone: without a sandbox a program can write here."""
    if not isinstance(values, dict):
        return {}
    named = {name: values.get(name) for name in MEASURED}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST
    }
