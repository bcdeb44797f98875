from tasks.admin.attempts import AttemptAdmin
from tasks.admin.steps import ApprovalStepAdmin
from tasks.admin.tasks import TaskAdmin
from tasks.admin.uploads import UploadAdmin

__all__ = ["ApprovalStepAdmin", "AttemptAdmin", "TaskAdmin", "UploadAdmin"]
