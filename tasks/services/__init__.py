from tasks.services.attempts import finish, start
from tasks.services.decide import approve, reject
from tasks.services.dispatch import schedule
from tasks.services.logs import append_log, read_log
from tasks.services.plan import Plan, quote
from tasks.services.stop import cancel, complete
from tasks.services.submit import retry, submit
from tasks.services.sweep import sweep
from tasks.services.sync import sync
from tasks.services.wakes import schedule_soon

__all__ = [
    "Plan",
    "append_log",
    "approve",
    "cancel",
    "complete",
    "finish",
    "quote",
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
