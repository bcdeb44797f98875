from tasks.admin.attempts import AttemptAdmin
from tasks.admin.steps import ApprovalStepAdmin
from tasks.admin.tasks import TaskAdmin

__all__ = ["ApprovalStepAdmin", "AttemptAdmin", "TaskAdmin"]
