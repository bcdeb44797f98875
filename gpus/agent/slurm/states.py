"""What the states of a job mean, and whose fault an end is that nobody on the node could tell."""

from __future__ import annotations

import re

from ..protocol import FAILED, FAULT_HOST, FAULT_USER, TIMED_OUT
from ..verdict import Verdict

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
AT_WORK = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING"})

# Slurm says of these that the node is at fault. It has stopped asking that node, and the program may still run there.
_NODE_AWAY = frozenset({"NODE_FAIL"})
_HOST: dict[str, tuple[str, str]] = {
    "NODE_FAIL": ("node_failed", "Slurm lost the node {node} on which it ran."),
    "BOOT_FAIL": ("node_failed", "The node {node} could not be booted."),
    "LAUNCH_FAILED": ("node_failed", "The node {node} could not begin it."),
    "RECONFIG_FAIL": ("node_failed", "The node {node} could not be prepared."),
    "PREEMPTED": ("preempted", "Slurm gave its GPUs to a job of higher priority."),
    "CANCELLED": ("slurm_cancelled", "Somebody cancelled its job in Slurm."),
    "DEADLINE": ("slurm_cancelled", "Slurm ended its job at a deadline of the cluster."),
    "REVOKED": ("slurm_cancelled", "Slurm took its job back."),
}

# Reasons for which a job would wait for ever.
HOPELESS = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "JobHeldAdmin",
        "JobHeldUser",
        "NodeLimit",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSNotAllowed",
        "QOSTimeLimit",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxWallDurationPerJobLimit",
    }
)
_SAID_MEMORY = re.compile(r"oom[-_ ]?kill|out[- ]of[- ]memory|exceeded (job )?memory limit", re.IGNORECASE)
_SAID = (
    (re.compile(r"DUE TO NODE FAILURE"), "NODE_FAIL"),
    (re.compile(r"DUE TO PREEMPTION"), "PREEMPTED"),
    (re.compile(r"DUE TO TIME LIMIT"), "TIMEOUT"),
)


def is_over(state: str) -> bool:
    """Say whether Slurm has finished with a job."""
    return state not in WAITING and state not in AT_WORK


def may_still_run(state: str) -> bool:
    """Say whether Slurm calls a job ended without having seen its processes end."""
    return state in _NODE_AWAY


def judge(state: str, node: str, said: str) -> Verdict:
    """Judge the end of a job whose node could not.

    `state` is empty where Slurm has forgotten the job; `said` is the end of its output.
    """
    for pattern, told in _SAID:
        if pattern.search(said) and state in ("", "CANCELLED", "FAILED", "COMPLETED"):
            state = told
    if state == "OUT_OF_MEMORY" or (state in ("FAILED", "", "CANCELLED") and _SAID_MEMORY.search(said)):
        return Verdict(
            FAILED, FAULT_USER, "out_of_memory", "Slurm ended the program: it used more memory than it may.", 0
        )
    if state == "TIMEOUT":
        return Verdict(TIMED_OUT, FAULT_USER, "time_limit", "Slurm ended the program at the partition's time limit.", 0)
    if state in _HOST:
        code, detail = _HOST[state]
        return Verdict(FAILED, FAULT_HOST, code, detail.format(node=node or "of its job"), 0)
    shown = f"The job ended in Slurm as {state}" if state else "Slurm has forgotten the job"
    last = said.strip().splitlines()[-1:] or [""]
    detail = f"{shown}, and its supervisor left no word. {last[0][:300]}".strip()
    return Verdict(FAILED, FAULT_HOST, "supervisor_lost", detail, 0)
