"""Set questions about tasks, steps and attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from accounts.models import Account
from tasks.choices import LIVE, OPEN, ArtifactKind, FileStatus, StepKind, StepStatus, TaskStatus


class TaskQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Tasks of the accounts that `user` is in or manages; all of them for who may view, decide or operate any.

        The permission to view accounts is not enough: what somebody runs, and its log, is more than that.
        """
        if any(user.has_perm(f"tasks.{may}_task") for may in ("view", "approve", "operate")):
            return self
        return self.filter(account__in=Account.objects.of_member(user))

    def live(self) -> Self:
        return self.filter(status__in=LIVE)

    def queue(self) -> Self:
        """What waits for GPUs, best first: priority, then age. The order of the partial index."""
        return self.filter(status=TaskStatus.APPROVED).order_by(F("priority").desc(), "id")

    def ahead_of(self, task: Any) -> Self:
        return self.queue().filter(Q(priority__gt=task.priority) | Q(priority=task.priority, id__lt=task.id))

    def waited_too_long(self, *, now: datetime) -> Self:
        """Keep what did not start by the moment its submitter set; what started once and queues again did."""
        return self.filter(
            status__in=[TaskStatus.PENDING, TaskStatus.APPROVED], wait_until__lt=now, started_at__isnull=True
        )


class ApprovalStepQuerySet(models.QuerySet):
    def waiting(self) -> Self:
        return self.filter(status=StepStatus.PENDING, task__status=TaskStatus.PENDING)

    def visible_to(self, user) -> Self:
        """Keep the steps of tasks that `user` sees, decided or not."""
        return self.filter(task__in=self.model._meta.get_field("task").related_model.objects.visible_to(user))

    def first_waiting(self) -> Self:
        """Keep of each task the step that comes next."""
        before = self.model._base_manager.filter(
            task=OuterRef("task"), status=StepStatus.PENDING, position__lt=OuterRef("position")
        )
        return self.waiting().filter(~Exists(before))

    def decidable_by(self, user: Any) -> Self:
        """Steps whose turn it is and that wait for `user`: as approver, as manager; never those of an own task."""
        steps = self.first_waiting()
        is_approver = user.has_perm("tasks.approve_task")
        if user.is_superuser and is_approver:
            return steps
        theirs = Q(kind=StepKind.PARENT_MANAGER, account__in=Account.objects.managed_by(user))
        if is_approver:
            theirs |= Q(kind=StepKind.STAFF)
        return steps.filter(theirs).exclude(task__submitted_by=user)


class AttemptQuerySet(models.QuerySet):
    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def started(self) -> Self:
        """Keep those whose program was started, the last one first."""
        return self.filter(started_at__isnull=False).order_by("-epoch")

    def idle_before(self, moment: datetime) -> Self:
        """Keep what runs and has left its GPUs idle since before a moment, the longest first."""
        return self.filter(
            status="RUNNING", idle_since__lt=moment, task__may_idle=False, task__cancel_requested_at__isnull=True
        ).order_by("idle_since")

    def refused_since(self, moment: datetime) -> Self:
        return self.filter(status="REFUSED", ended_at__gt=moment)

    def charged(self) -> Self:
        """Attempts whose time the payer pays for: they started, and ended by no fault of host or platform."""
        return self.filter(started_at__isnull=False).exclude(status="LOST").exclude(fault__in=["host", "platform"])


class StoredFileQuerySet(models.QuerySet):
    def here(self) -> Self:
        return self.exclude(status=FileStatus.REMOVED)

    def due(self, *, now: datetime) -> Self:
        """Keep what may be removed by now: its time is over and no live task needs it."""
        return self.here().filter(due_at__lte=now).exclude(self._needed())

    def needed(self) -> Self:
        """Keep what a live task was given, or left as the checkpoint it would go on from."""
        return self.filter(self._needed())

    def _needed(self) -> Q:
        uses = self.model._meta.get_field("uses").related_model._base_manager
        artifacts = self.model._meta.get_field("artifact").related_model._base_manager
        given = uses.filter(file=OuterRef("pk"), task__status__in=LIVE)
        checkpoint = artifacts.filter(file=OuterRef("pk"), is_current=True, task__status__in=LIVE)
        return Q(Exists(given)) | Q(Exists(checkpoint))


class UploadQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Uploads of the accounts that `user` is in or manages; all of them for who may view any."""
        if user.has_perm("tasks.view_upload"):
            return self.here()
        return self.here().filter(account__in=Account.objects.of_member(user))

    def here(self) -> Self:
        return self.exclude(file__status=FileStatus.REMOVED)


class ArtifactQuerySet(models.QuerySet):
    def kept(self) -> Self:
        """Keep results that are whole and still here."""
        return self.filter(kind=ArtifactKind.OUTPUT, file__status=FileStatus.WHOLE)

    def checkpoint(self) -> Self:
        return self.filter(is_current=True, file__status=FileStatus.WHOLE)
