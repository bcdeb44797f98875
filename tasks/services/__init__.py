from tasks.services.artifacts import file_for, keep_checkpoint, put_artifact
from tasks.services.attempts import finish, start
from tasks.services.curves import read_curves
from tasks.services.decide import approve, reject
from tasks.services.dispatch import schedule
from tasks.services.files import read as read_file
from tasks.services.idle import allow_idle
from tasks.services.log_archive import archive_logs
from tasks.services.logs import append_log, read_log
from tasks.services.plan import Plan, quote
from tasks.services.prolong import prolong
from tasks.services.stop import cancel, complete
from tasks.services.submit import retry, submit
from tasks.services.sweep import sweep
from tasks.services.sync import sync
from tasks.services.uploads import complete_upload, create_upload, delete_upload, digest_upload, send_upload
from tasks.services.wakes import schedule_soon

__all__ = [
    "Plan",
    "allow_idle",
    "append_log",
    "approve",
    "archive_logs",
    "cancel",
    "complete",
    "complete_upload",
    "create_upload",
    "delete_upload",
    "digest_upload",
    "file_for",
    "finish",
    "keep_checkpoint",
    "prolong",
    "put_artifact",
    "quote",
    "read_curves",
    "read_file",
    "read_log",
    "reject",
    "retry",
    "schedule",
    "schedule_soon",
    "send_upload",
    "start",
    "submit",
    "sweep",
    "sync",
]
