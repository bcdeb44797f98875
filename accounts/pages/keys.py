"""The page of one's API keys."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse

from accounts.choices import CapPeriod
from accounts.models import Account, ApiKey
from accounts.pages import key_forms as forms
from accounts.pages.family_forms import PERIODS
from accounts.services import keys
from gaas.lib import clock
from gaas.lib.pages.board import Board, page_of

MOST_ACCOUNTS = 200


class Keys(Board):
    """List one's keys; make one, rotate, revoke.

    A new key's text stands in the answer to its form, and nowhere else.
    """

    template_name = "accounts/keys.html"
    kinds = (forms.CreateKeyForm, forms.RotateKeyForm, forms.RevokeKeyForm)

    def do_create_key(self, form: forms.CreateKeyForm) -> HttpResponse:
        terms = {**form.cleaned_data}
        del terms["expires_on"]
        if terms["account"] is not None:
            terms["account"] = Account.objects.of_member(self.request.user).named(terms["account"])
        made = keys.create_key(user=self.request.user, now=clock.now(), expires_at=form.expires_at, **terms)
        return self._told(*made)

    def do_rotate_key(self, form: forms.RotateKeyForm) -> HttpResponse:
        key, now = self.row(form, self._mine()), clock.now()
        made = keys.rotate_key(key=key, by=self.request.user, overlap=form.cleaned_data["overlap"], now=now)
        return self._told(*made)

    def do_revoke_key(self, form: forms.RevokeKeyForm) -> HttpResponse:
        key = self.row(form, self._mine())
        key.revoke(by=self.request.user, now=clock.now(), reason=form.cleaned_data["reason"] or "")
        return self.done(f"{key.name} is refused from now on.")

    def _told(self, key: ApiKey, text: str) -> HttpResponse:
        self.sent = None
        return self.render_to_response(self.get_context_data(made=key, secret=text))

    def _mine(self) -> Any:
        return ApiKey.objects.visible_to(self.request.user).select_related("user", "account")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        now = clock.now()
        live = ApiKey.objects.live(now=now).values("pk")
        ended = self.request.GET.get("which") == "ended"
        rows = self._mine().exclude(pk__in=live) if ended else self._mine().filter(pk__in=live)
        page = page_of(rows.order_by("-pk"), self.request.GET.get("page"))
        used = keys.used_through(page.object_list, now=now)
        for key in page:
            key.used, key.period_words = used[key.pk], PERIODS[CapPeriod(key.cap_period)]
            if not ended:
                key.revoke_form = self.form(forms.RevokeKeyForm, key.pk)
                if key.replaced_by_id is None:
                    key.rotate_form = self.form(forms.RotateKeyForm, key.pk)
        create = self.form(forms.CreateKeyForm)
        accounts = Account.objects.open().of_member(self.request.user).order_by("name", "pk")[:MOST_ACCOUNTS]
        create.fields["account"].widget.choices = [("", "Wherever I may"), *((row.pk, row.name) for row in accounts)]
        return super().get_context_data(page=page, ended=ended, create=create, **kwargs)
