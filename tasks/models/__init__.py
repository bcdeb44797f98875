from tasks.models.approval import ApprovalStep
from tasks.models.attempt import Attempt, AttemptGPU
from tasks.models.event import TaskEvent
from tasks.models.log import LogChunk
from tasks.models.scheduler import Scheduler
from tasks.models.task import Task

__all__ = ["ApprovalStep", "Attempt", "AttemptGPU", "LogChunk", "Scheduler", "Task", "TaskEvent"]
