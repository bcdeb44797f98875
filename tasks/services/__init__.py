from tasks.services.attempts import finish, start
from tasks.services.curves import read_curves
from tasks.services.decide import approve, reject
from tasks.services.dispatch import schedule
from tasks.services.idle import allow_idle
from tasks.services.logs import append_log, read_log
from tasks.services.plan import Plan, quote
from tasks.services.stop import cancel, complete
from tasks.services.submit import retry, submit
from tasks.services.sweep import sweep
from tasks.services.sync import sync
from tasks.services.wakes import schedule_soon

__all__ = [
    "Plan",
    "allow_idle",
    "append_log",
    "approve",
    "cancel",
    "complete",
    "finish",
    "quote",
    "read_curves",
    "read_log",
    "reject",
    "retry",
    "schedule",
    "schedule_soon",
    "start",
    "submit",
    "sweep",
    "sync",
]
