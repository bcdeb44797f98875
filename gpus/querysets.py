"""Questions about many hosts and GPUs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Substr

from gaas.lib.wake import announce
from gpus.choices import ON_SHOW, SPEAKING, Availability, GPUStatus, HostStatus, Visibility

# "/<root id>/", the beginning of an account's path that its whole tree shares.
ROOT_LENGTH = 38


class HostQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> HostQuerySet:
        """Keep the hosts of the accounts that a user is in; staff with the permission see all."""
        if user.is_staff and user.has_perm("gpus.view_host"):
            return self
        accounts = self.model._meta.get_field("account").related_model
        return self.filter(account__in=accounts.objects.of_member(user))

    def offered_to(self, account: Any) -> HostQuerySet:
        """Keep hosts with a GPU that this account's tasks may be given, now or when it is free."""
        gpus = self.model._meta.get_field("gpus").related_model
        return self.filter(pk__in=gpus.objects.listed().usable_by(account).order_by().values("host"))

    def reachable(self, *, now: datetime) -> HostQuerySet:
        """Keep hosts that were heard within the last lease."""
        return self.filter(status__in=SPEAKING, lease_expires_at__gt=now)

    def expected(self, *, now: datetime) -> HostQuerySet:
        """Keep hosts that should be up: in service, and not in a maintenance that was announced."""
        in_service = self.filter(status__in=[HostStatus.ACTIVE, HostStatus.DRAINING])
        return in_service.exclude(maintenance_from__lte=now, maintenance_until__gt=now)

    def speaking(self) -> HostQuerySet:
        """Keep hosts whose agents are listened to."""
        return self.filter(status__in=SPEAKING)

    def bump(self) -> int:
        """Raise the revision of these hosts and wake their agents' waits; returns how many.

        Rows are locked in the order of their ids, so that two callers with many hosts cannot deadlock.
        """
        with transaction.atomic(savepoint=False):
            hosts = list(self.select_for_update().order_by("pk").values_list("pk", "revision"))
            self.model._base_manager.filter(pk__in=[pk for pk, _ in hosts]).update(revision=F("revision") + 1)
            for pk, revision in hosts:
                announce(f"host:{pk}:{revision + 1}")
        return len(hosts)


class GPUQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> GPUQuerySet:
        """Keep GPUs of accounts that a user is in, and of others what is on show for the user."""
        if user.is_staff and user.has_perm("gpus.view_gpu"):
            return self
        accounts = self.model._meta.get_field("host").related_model._meta.get_field("account").related_model
        mine = accounts.objects.of_member(user)
        roots = mine.annotate(root=Substr("path", 1, ROOT_LENGTH)).values("root")
        on_show = Q(status__in=ON_SHOW) & ~Q(host__status=HostStatus.REVOKED)
        return self.annotate(tree_root=Substr("host__account__path", 1, ROOT_LENGTH)).filter(
            Q(host__account__in=mine)
            | (on_show & Q(visibility=Visibility.PUBLIC))
            | (on_show & Q(visibility=Visibility.TREE, tree_root__in=roots))
        )

    def usable_by(self, account: Any) -> GPUQuerySet:
        """Keep the GPUs whose owner lets this account's tasks run on them."""
        return self.filter(
            Q(visibility=Visibility.PUBLIC)
            | Q(visibility=Visibility.TREE, host__account__path__startswith=account.path[:ROOT_LENGTH])
            | Q(host__account=account)
        )

    def listed(self) -> GPUQuerySet:
        """Keep what is offered at all, free or not, in the order of hosts; hosts and their accounts come along."""
        return (
            self.filter(status=GPUStatus.LISTED, is_present=True, host__status__in=SPEAKING)
            .select_related("host__account")
            .order_by("host_id", "index", "pk")
        )

    def free(self, now: datetime) -> GPUQuerySet:
        """Keep the GPUs that a task could be given now, in the order of hosts and their indices.

        Those that a schedule or a maintenance will close are among them: how long one is needed decides.
        """
        return (
            self.listed()
            .filter(host__status=HostStatus.ACTIVE, host__lease_expires_at__gt=now, foreign_processes=0)
            .exclude(self._is_busy())
        )

    def with_availability(self, *, now: datetime) -> GPUQuerySet:
        """Annotate `availability`: what each GPU could do right now."""
        lease_is_over = Q(host__lease_expires_at__isnull=True) | Q(host__lease_expires_at__lte=now)
        return self.annotate(
            availability=Case(
                When(status=GPUStatus.RETIRED, then=Value(Availability.RETIRED)),
                When(
                    Q(is_present=False) | Q(host__status__in=[HostStatus.JOINING, HostStatus.REVOKED]) | lease_is_over,
                    then=Value(Availability.OFFLINE),
                ),
                When(self._is_busy(), then=Value(Availability.BUSY)),
                When(status=GPUStatus.UNLISTED, then=Value(Availability.UNLISTED)),
                When(host__status=HostStatus.MAINTENANCE, then=Value(Availability.MAINTENANCE)),
                When(
                    Q(status=GPUStatus.DRAINING) | Q(host__status=HostStatus.DRAINING),
                    then=Value(Availability.DRAINING),
                ),
                When(foreign_processes__gt=0, then=Value(Availability.OCCUPIED)),
                When(is_closed=True, then=Value(Availability.CLOSED)),
                default=Value(Availability.AVAILABLE),
                output_field=models.CharField(),
            )
        )

    def let_go(self) -> GPUQuerySet:
        """Keep GPUs that nobody holds on to: retired or of a revoked host, and running nothing."""
        return self.filter(Q(status=GPUStatus.RETIRED) | Q(host__status=HostStatus.REVOKED)).exclude(self._is_busy())

    def _is_busy(self) -> Exists:
        """Ask for an open attempt, which an app above this one stores."""
        held = self.model._meta.get_field("attempt_gpus").related_model
        return Exists(held._base_manager.filter(gpu=OuterRef("pk"), is_open=True))
