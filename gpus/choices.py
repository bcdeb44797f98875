"""The words for the states of hosts and GPUs, shared by models, API and admin."""

from __future__ import annotations

from django.db import models


class HostStatus(models.TextChoices):
    """Say what the platform does with a host; whether it can be reached is derived from its lease."""

    JOINING = "JOINING", "Joining"
    ACTIVE = "ACTIVE", "Active"
    DRAINING = "DRAINING", "Draining"
    MAINTENANCE = "MAINTENANCE", "Maintenance"
    REVOKED = "REVOKED", "Revoked"


class GPUStatus(models.TextChoices):
    """Say whether the owner offers a GPU; whether it is free is derived (Availability)."""

    UNLISTED = "UNLISTED", "Unlisted"
    LISTED = "LISTED", "Listed"
    DRAINING = "DRAINING", "Draining"
    RETIRED = "RETIRED", "Retired"


class Visibility(models.TextChoices):
    """Say whose tasks a GPU takes."""

    PRIVATE = "PRIVATE", "Private: the host's account"
    TREE = "TREE", "Tree: the host's organisation"
    PUBLIC = "PUBLIC", "Public: everybody"


class Availability(models.TextChoices):
    """Say what a GPU could do right now: never stored, annotated by `GPU.objects.with_availability`."""

    AVAILABLE = "AVAILABLE", "Available"
    BUSY = "BUSY", "Busy"
    OCCUPIED = "OCCUPIED", "Used by others"
    CLOSED = "CLOSED", "Outside its hours"
    DRAINING = "DRAINING", "Draining"
    MAINTENANCE = "MAINTENANCE", "Maintenance"
    OFFLINE = "OFFLINE", "Offline"
    UNLISTED = "UNLISTED", "Unlisted"
    RETIRED = "RETIRED", "Retired"


class Sandbox(models.TextChoices):
    """Say what keeps a task's program away from the host."""

    BUBBLEWRAP = "bubblewrap", "bubblewrap"
    NONE = "none", "none"


REVOKED = "This host was revoked; its owner can add the machine as a new host."

# States in which the agent of a host may speak.
SPEAKING = (HostStatus.JOINING, HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.MAINTENANCE)

# States in which others than its owners see a GPU.
ON_SHOW = (GPUStatus.LISTED, GPUStatus.DRAINING)
OFF_SHOW = (GPUStatus.UNLISTED, GPUStatus.RETIRED)
