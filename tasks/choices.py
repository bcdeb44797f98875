"""States and groups that models, API and admin share."""

from django.db.models import TextChoices


class TaskStatus(TextChoices):
    PENDING = "PENDING", "Pending approval"
    APPROVED = "APPROVED", "Approved, waiting for GPUs"
    ASSIGNED = "ASSIGNED", "Assigned to a host"
    PROCESSING = "PROCESSING", "Running"
    COMPLETED = "COMPLETED", "Completed"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"
    REJECTED = "REJECTED", "Rejected"
    EXPIRED = "EXPIRED", "Expired"


class AttemptStatus(TextChoices):
    OFFERED = "OFFERED", "Offered to the host"
    PREPARING = "PREPARING", "Preparing"
    RUNNING = "RUNNING", "Running"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"
    TIMED_OUT = "TIMED_OUT", "Ran out of time"
    LOST = "LOST", "Lost with its host"
    REFUSED = "REFUSED", "Refused by the host"


class StepStatus(TextChoices):
    PENDING = "PENDING", "Waiting"
    APPROVED = "APPROVED", "Approved"
    REJECTED = "REJECTED", "Rejected"
    VOID = "VOID", "No longer needed"


class StepKind(TextChoices):
    PARENT_MANAGER = "parent_manager", "A manager of the account"
    STAFF = "staff", "Staff"


class FileStatus(TextChoices):
    OPEN = "OPEN", "Being sent"
    WHOLE = "WHOLE", "Kept"
    REMOVED = "REMOVED", "Removed"


class ArtifactKind(TextChoices):
    OUTPUT = "output", "Result"
    CHECKPOINT = "checkpoint", "Part of a checkpoint"


class Funding(TextChoices):
    QUOTA = "quota", "Hours of the quota"
    WALLET = "wallet", "Money of the wallet"
    RESERVED = "reserved", "Reserved hours of a contract"


class Fault(TextChoices):
    USER = "user", "The user's program"
    HOST = "host", "The host"
    PLATFORM = "platform", "The platform"
    NONE = "none", "Nobody"


TERMINAL = frozenset(
    {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
        TaskStatus.REJECTED,
        TaskStatus.EXPIRED,
    }
)
LIVE = frozenset(set(TaskStatus) - TERMINAL)
ON_A_HOST = frozenset({TaskStatus.ASSIGNED, TaskStatus.PROCESSING})
OPEN = frozenset({AttemptStatus.OFFERED, AttemptStatus.PREPARING, AttemptStatus.RUNNING})
ENDED = frozenset(set(AttemptStatus) - OPEN)
