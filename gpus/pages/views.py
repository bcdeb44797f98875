"""Pages of who offers GPUs: their hosts, and one host with what there is to do with it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property

from accounts.models import Account
from gaas.lib import clock
from gaas.lib.errors import NotAllowed, NotFound
from gaas.lib.pages.board import Board, page_of
from gpus import services, windows
from gpus.choices import Availability, GPUStatus, HostStatus
from gpus.looks import charts_of
from gpus.models import GPU, Host
from gpus.pages import forms
from gpus.troubles import troubles

MOST_ACCOUNTS = 200
MOST_GPUS = 64


def _token_shown(host: Host, token: str) -> dict[str, Any]:
    return {
        "made": host,
        "token": token,
        "server": settings.BASE_URL,
        "minutes": f"{settings.JOIN_TOKEN_SECONDS / 60:g}",
    }


class Hosts(Board):
    """List the hosts of one's accounts; add one."""

    template_name = "hosts/hosts.html"
    kinds = (forms.AddHostForm,)

    def do_add_host(self, form: forms.AddHostForm) -> HttpResponse:
        data = form.cleaned_data
        account = self._accounts().filter(pk=data["account"]).first()
        if account is None or not Host(account=account).may_be_run_by(self.request.user):
            raise NotFound("No such account, or not one whose hosts you run.", attr="account")
        host, token = services.register_host(
            account=account, name=data["name"], region=data["region"] or "", by=self.request.user, now=clock.now()
        )
        self.sent = None
        return self.render_to_response(self.get_context_data(**_token_shown(host, token)))

    def _accounts(self) -> Any:
        return Account.objects.open().of_member(self.request.user)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        now = clock.now()
        hosts = Host.objects.filter(account__in=Account.objects.of_member(self.request.user)).select_related("account")
        gone = self.request.GET.get("which") == "revoked"
        hosts = hosts.filter(status=HostStatus.REVOKED) if gone else hosts.exclude(status=HostStatus.REVOKED)
        counts = {"gpu_count": Count("gpus"), "listed_count": Count("gpus", filter=Q(gpus__status=GPUStatus.LISTED))}
        page = page_of(hosts.annotate(**counts).order_by("-pk"), self.request.GET.get("page"))
        for host in page:
            host.reachable, host.troubles = host.is_reachable(now), troubles(host, now=now)
        add = self.form(forms.AddHostForm)
        accounts = self._accounts().order_by("name", "pk")[:MOST_ACCOUNTS]
        add.fields["account"].widget.choices = [(row.pk, row.name) for row in accounts]
        return super().get_context_data(page=page, gone=gone, add=add, **kwargs)


class OneHost(Board):
    """Show a host with its GPUs, what they did in the last hour and what runs; every verb of both."""

    template_name = "hosts/host.html"
    kinds = (
        forms.DrainForm,
        forms.UndrainForm,
        forms.MaintenanceForm,
        forms.RevokeForm,
        forms.JoinTokenForm,
        forms.OfferForm,
        forms.ScheduleForm,
        forms.ListForm,
        forms.UnlistForm,
    )

    @cached_property
    def host(self) -> Host:
        visible = Host.objects.visible_to(self.request.user).select_related("account")
        host: Host = get_object_or_404(visible, pk=self.kwargs["pk"])
        return host

    def _run(self, form: forms.VerbForm) -> Any:
        """Give what a form is about: one of the host's GPUs, or the host; raises NotAllowed for who only looks."""
        if not self.host.may_be_run_by(self.request.user):
            raise NotAllowed("Managers and owners of the host's account can do this, and staff with the permission.")
        return self.row(form, self.host.gpus.select_related("host__account")) if form.of else self.host

    def _said(self, row: Any, sentence: str) -> HttpResponse:
        name = row.name if isinstance(row, Host) else f"GPU {row.index}"
        return self.done(f"{name} {sentence}", to=reverse("host", args=[self.host.pk]))

    def do_drain(self, form: forms.DrainForm) -> HttpResponse:
        row = self._run(form)
        row.drain(by=self.request.user, reason=form.cleaned_data["reason"] or "", now=clock.now())
        return self._said(row, "gets no more work; what runs goes on.")

    def do_undrain(self, form: forms.UndrainForm) -> HttpResponse:
        row = self._run(form)
        row.undrain(by=self.request.user, now=clock.now())
        return self._said(row, "is back at work.")

    def do_maintenance(self, form: forms.MaintenanceForm) -> HttpResponse:
        host, said = self._run(form), form.cleaned_data
        host.maintenance(
            by=self.request.user,
            begins_at=said["begins_at"],
            ends_at=said["ends_at"],
            reason=said["reason"] or "",
            now=clock.now(),
        )
        return self._said(host, "has its maintenance announced.")

    def do_revoke(self, form: forms.RevokeForm) -> HttpResponse:
        host = self._run(form)
        host.revoke(by=self.request.user, reason=form.cleaned_data["reason"], now=clock.now())
        return self._said(host, "is believed nothing any more.")

    def do_join_token(self, form: forms.JoinTokenForm) -> HttpResponse:
        host = self._run(form)
        token = host.reissue_join_token(by=self.request.user, now=clock.now())
        self.sent = None
        return self.render_to_response(self.get_context_data(**_token_shown(host, token)))

    def do_offer(self, form: forms.OfferForm) -> HttpResponse:
        gpu, said = self._run(form), form.cleaned_data
        gpu.offer(
            by=self.request.user,
            price_per_hour=said["price"],
            visibility=said["visibility"],
            accepts_quota=said["accepts_quota"],
            now=clock.now(),
        )
        return self._said(gpu, "has new terms. What runs keeps the price it began at.")

    def do_schedule(self, form: forms.ScheduleForm) -> HttpResponse:
        gpu = self._run(form)
        gpu.offer(by=self.request.user, schedule=form.cleaned_data["schedule"], now=clock.now())
        return self._said(gpu, "has new hours.")

    def do_list(self, form: forms.ListForm) -> HttpResponse:
        gpu = self._run(form)
        gpu.list(by=self.request.user, now=clock.now())
        return self._said(gpu, "is offered.")

    def do_unlist(self, form: forms.UnlistForm) -> HttpResponse:
        gpu = self._run(form)
        gpu.unlist(by=self.request.user, now=clock.now())
        return self._said(gpu, "is offered no more; what runs goes on.")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        host, now = self.host, clock.now()
        may_run = host.may_be_run_by(self.request.user)
        gpus = list(
            GPU.objects.filter(host=host)
            .with_availability(now=now)
            .select_related("host__account")
            .order_by("index", "pk")[:MOST_GPUS]
        )
        held = GPU._meta.get_field("attempt_gpus").related_model
        running = {
            lent.gpu_id: lent.attempt
            for lent in held.objects.filter(gpu__in=gpus, is_open=True).select_related("attempt")
        }
        for gpu in gpus:
            gpu.now_words = Availability(gpu.availability).label
            gpu.hours_words = windows.in_words(gpu.schedule)
            gpu.attempt = running.get(gpu.pk)
            gpu.curves = charts_of([gpu], now=now) if gpu.is_present else ""
            if may_run and host.status != HostStatus.REVOKED:
                gpu.verbs = self._verbs_of_gpu(gpu)
        verbs = self._verbs_of_host(host) if may_run else []
        return super().get_context_data(
            host=host,
            gpus=gpus,
            is_reachable=host.is_reachable(now),
            troubles=troubles(host, now=now),
            verbs=verbs,
            may_run=may_run,
            **{"made": None, **kwargs},
        )

    def _verbs_of_host(self, host: Host) -> list[forms.VerbForm]:
        kinds: list[Any] = []
        is_away = host.status in (HostStatus.DRAINING, HostStatus.MAINTENANCE)
        if is_away or host.maintenance_from is not None:
            kinds.append(forms.UndrainForm)
        if HostStatus.DRAINING in Host.TRANSITIONS[host.status]:
            kinds.append(forms.DrainForm)
        if host.status in (HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.MAINTENANCE):
            kinds.append(forms.MaintenanceForm)
        if host.status != HostStatus.REVOKED:
            kinds += [forms.JoinTokenForm, forms.RevokeForm]
        return [self.form(kind) for kind in kinds]

    def _verbs_of_gpu(self, gpu: GPU) -> list[forms.VerbForm]:
        verbs: list[forms.VerbForm] = [
            self.form(
                forms.OfferForm,
                gpu.pk,
                price=gpu.price_shown,
                visibility=gpu.visibility,
                accepts_quota=gpu.accepts_quota,
            ),
            self.form(forms.ScheduleForm, gpu.pk, **forms.ScheduleForm.initial_of(gpu.schedule)),
        ]
        if gpu.status == GPUStatus.LISTED:
            verbs += [self.form(forms.DrainForm, gpu.pk), self.form(forms.UnlistForm, gpu.pk)]
        elif gpu.status == GPUStatus.DRAINING:
            verbs.append(self.form(forms.UndrainForm, gpu.pk))
        elif gpu.first_listed_at is not None:
            verbs.append(self.form(forms.ListForm, gpu.pk))
        return verbs
