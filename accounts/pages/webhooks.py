"""Pages of an account's webhooks: where it is told what, and what became of each event."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts.choices import Role
from accounts.pages import webhook_forms as forms
from accounts.pages.of_account import OfAccount
from accounts.services import webhooks
from gaas.lib import clock
from gaas.lib.pages.board import VerbForm, page_of
from gaas.lib.rest.throttles import count_call
from gaas.outbox.choices import DeliveryStatus
from gaas.outbox.models import Webhook, WebhookDelivery


class WebhooksOfAccount(OfAccount):
    """Let in who manages the account, and staff to look."""

    @property
    def changes(self) -> bool:
        return self.role is not None and self.role >= Role.MANAGER and self.account.closed_at is None

    def rows(self) -> QuerySet[Webhook]:
        return Webhook.objects.filter(account=self.account).select_related("account")

    def count(self) -> None:
        count_call("webhook", meta=self.request.META, name=str(self.request.user.pk))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        if not self.sees_webhooks:
            raise PermissionDenied("seeing webhooks takes the role of a manager")
        return super().get_context_data(changes=self.changes, **kwargs)


class Webhooks(WebhooksOfAccount):
    """List the webhooks; make one, whose secret stands in the answer to the form and nowhere else."""

    template_name = "accounts/webhooks.html"
    kinds = (forms.CreateWebhookForm,)

    def do_create_webhook(self, form: forms.CreateWebhookForm) -> HttpResponse:
        self.count()
        webhooks.require_manager(self.account, self.request.user)
        webhooks.check_address(form.cleaned_data["url"])
        made, secret = webhooks.create_webhook(
            account=self.account, by=self.request.user, now=clock.now(), **form.cleaned_data
        )
        self.sent = None
        return self.render_to_response(self.get_context_data(made=made, secret=secret))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        hooks = list(self.rows().order_by("-pk"))
        most = settings.WEBHOOKS_PER_ACCOUNT if len(hooks) >= settings.WEBHOOKS_PER_ACCOUNT else 0
        return super().get_context_data(hooks=hooks, most=most, create=self.form(forms.CreateWebhookForm), **kwargs)


class OneWebhook(WebhooksOfAccount):
    """Show one webhook with what it was told; change, try, rotate, switch, remove it, send something again."""

    template_name = "accounts/webhook.html"
    kinds = (
        forms.ChangeWebhookForm,
        forms.TryWebhookForm,
        forms.RotateSecretForm,
        forms.SwitchOnForm,
        forms.SwitchOffForm,
        forms.DeleteWebhookForm,
        forms.RedeliverForm,
    )

    @cached_property
    def hook(self) -> Webhook:
        return get_object_or_404(self.rows(), pk=self.kwargs["webhook"])

    def do_change_webhook(self, form: forms.ChangeWebhookForm) -> HttpResponse:
        self.count()
        webhooks.require_manager(self.account, self.request.user)
        if form.cleaned_data["url"] != self.hook.url:
            webhooks.check_address(form.cleaned_data["url"])
        self._change(**form.cleaned_data)
        return self.done("It is changed.")

    def do_try_webhook(self, form: VerbForm) -> HttpResponse:
        self.count()
        webhooks.try_webhook(webhook=self.hook, by=self.request.user, now=clock.now())
        return self.done("A trial is on its way. Load this page again in a moment to see what was answered.")

    def do_rotate_secret(self, form: forms.RotateSecretForm) -> HttpResponse:
        hook, secret = webhooks.rotate_webhook_secret(
            webhook=self.hook, overlap=form.cleaned_data["overlap"], by=self.request.user, now=clock.now()
        )
        self.sent = None
        self.hook = hook
        return self.render_to_response(self.get_context_data(made=hook, secret=secret))

    def do_switch_on(self, form: VerbForm) -> HttpResponse:
        self._change(is_active=True)
        return self.done("It is on. What waited for it is sent now.")

    def do_switch_off(self, form: VerbForm) -> HttpResponse:
        self._change(is_active=False)
        return self.done("It is off, and told of nothing until you switch it on again.")

    def do_delete_webhook(self, form: VerbForm) -> HttpResponse:
        webhooks.delete_webhook(webhook=self.hook, by=self.request.user, now=clock.now())
        return self.done("The webhook is removed.", to=reverse("account_webhooks", args=[self.account.pk]))

    def do_redeliver(self, form: forms.RedeliverForm) -> HttpResponse:
        self.count()
        delivery = self.row(form, WebhookDelivery.objects.filter(webhook=self.hook).select_related("webhook__account"))
        webhooks.redeliver(delivery=delivery, by=self.request.user, now=clock.now())
        return self.done("It is on its way again. Load this page again in a moment to see what was answered.")

    def _change(self, **changes: Any) -> None:
        webhooks.change_webhook(webhook=self.hook, changes=changes, by=self.request.user, now=clock.now())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        hook = self.hook
        page = page_of(WebhookDelivery.objects.filter(webhook=hook).order_by("-pk"), self.request.GET.get("page"))
        for delivery in page:
            delivery.shown = json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False)
            if hook.is_active and delivery.status != DeliveryStatus.PENDING:
                delivery.form = self.form(forms.RedeliverForm, delivery.pk)
        return super().get_context_data(
            hook=hook,
            now=clock.now(),
            page=page,
            change=self.form(
                forms.ChangeWebhookForm,
                url=hook.url,
                events=hook.events,
                includes_children="below" if hook.includes_children else "one",
            ),
            rotate=self.form(forms.RotateSecretForm),
            try_it=self.form(forms.TryWebhookForm),
            switch=self.form(forms.SwitchOffForm if hook.is_active else forms.SwitchOnForm),
            remove=self.form(forms.DeleteWebhookForm),
            **kwargs,
        )
