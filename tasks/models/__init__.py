from tasks.models.approval import ApprovalStep
from tasks.models.attempt import Attempt, AttemptGPU
from tasks.models.event import TaskEvent
from tasks.models.file import Artifact, FilePiece, FileUse, StoredFile, Upload
from tasks.models.log import LogArchive, LogChunk
from tasks.models.progress import ProgressPoint
from tasks.models.relay import Relay
from tasks.models.scheduler import Scheduler
from tasks.models.task import Task

__all__ = [
    "ApprovalStep",
    "Artifact",
    "Attempt",
    "AttemptGPU",
    "FilePiece",
    "FileUse",
    "LogArchive",
    "LogChunk",
    "ProgressPoint",
    "Relay",
    "Scheduler",
    "StoredFile",
    "Task",
    "TaskEvent",
    "Upload",
]
