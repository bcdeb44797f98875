"""What this host holds, read from its state directory whether or not an agent runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .attempt import Attempt
from .clock import boottime
from .config import Config
from .state import State


def look(config: Config) -> dict[str, Any]:
    """Tell who this host is, whether an agent runs, how long its lease lasts, and each attempt; never the secret."""
    state = State(config.state_path)
    if config.slurm is not None:
        state.share(Path(config.slurm.shared_dir))
    credential = state.credential()
    deadline = state.lease_deadline()
    attempts = [Attempt.load(folder) for folder in sorted(state.attempts.iterdir()) if folder.name[:1] != "."]
    return {
        "host": credential.host_id if credential else None,
        "server": credential.server if credential else None,
        "state_dir": str(state.path),
        "is_running": state.is_locked(),
        "lease_seconds": round(max(0.0, deadline - boottime())) if deadline else 0,
        "attempts": [
            {
                "id": attempt.id,
                "epoch": attempt.epoch,
                "task": attempt.assignment.task_id,
                "state": attempt.state,
                "elapsed_ms": attempt.elapsed_ms(),
                "log_bytes": attempt.log_size(),
                "gpus": attempt.assignment.gpu_uuids,
            }
            for attempt in attempts
            if attempt is not None
        ],
    }


def lines(told: dict[str, Any]) -> list[str]:
    """Write it for people."""
    left = f"{told['lease_seconds']} s left" if told["lease_seconds"] else "none"
    return [
        f"host      {told['host']} of {told['server']}" if told["host"] else "host      not joined",
        f"agent     {'runs' if told['is_running'] else 'does not run'} ({told['state_dir']})",
        f"lease     {left}",
        *(
            f"attempt   {attempt['id']} of task {attempt['task']}: {attempt['state'].lower()},"
            f" {attempt['elapsed_ms'] / 1000:.0f} s, log {attempt['log_bytes']} bytes"
            for attempt in told["attempts"]
        ),
    ]
