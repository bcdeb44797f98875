"""The page of an account's earnings: what is pending and free, where it may go, and each payout."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse

from accounts.choices import Role
from accounts.ledger.models import Balance
from accounts.pages.of_account import OfAccount
from gaas.lib import clock
from gaas.lib.pages.board import after
from gpus.models import Host
from payments import services
from payments.choices import PAYOUT_WAITING, Provider
from payments.models import Payout, PayoutDestination
from payments.pages import payout_forms as forms
from payments.pages import payout_words as words
from payments.pages.money import OfMoney
from payments.providers import PROVIDERS
from payments.services.earned import earned_by
from payments.services.earnings import EARNINGS, PENDING

ROWS = 25
HEIGHT, WIDE = 100, 30  # of the chart, and of a month in it


class EarningsPage(OfMoney):
    """Show what an account earned and where it goes; its owners say where to and ask for payouts."""

    template_name = "payments/earnings.html"
    kinds = (forms.AskPayoutForm, forms.CancelPayoutForm, forms.AddDestinationForm, forms.RetireDestinationForm)

    @cached_property
    def sees_money(self) -> bool:
        return self.role is not None or bool(self.request.user.has_perm("payments.view_payout"))

    @property
    def _owns(self) -> bool:
        return self.role == Role.OWNER and self.account.closed_at is None

    def do_ask_payout(self, form: forms.AskPayoutForm) -> HttpResponse:
        """Ask for one payout, however many clicks."""

        def act() -> str:
            services.request_payout(
                destination=self._place(form.cleaned_data["destination"]),
                amount=form.cleaned_data["amount"],
                by=self.request.user,
                now=clock.now(),
            )
            return self.request.path

        answer, _ = self.once(form, act)
        return answer

    def do_cancel_payout(self, form: forms.CancelPayoutForm) -> HttpResponse:
        services.cancel_payout(payout=self.row(form, self._payouts()), by=self.request.user, now=clock.now())
        return self.done("It is taken back, and the amount is among the earnings again.")

    def do_add_destination(self, form: forms.AddDestinationForm) -> HttpResponse:
        data = form.cleaned_data
        replaced = data.pop("replaces")
        made = services.add_destination(
            account=self.account,
            by=self.request.user,
            now=clock.now(),
            replaces=self._place(replaced) if replaced else None,
            **data,
        )
        return self.done(f"It is kept. Payouts there can be asked for from {made.usable_at:%-d %B %Y, %H:%M} UTC on.")

    def do_retire_destination(self, form: forms.RetireDestinationForm) -> HttpResponse:
        place = self.row(form, self._places())
        services.retire_destination(destination=place, by=self.request.user, now=clock.now())
        return self.done("It is out of use. What was not sent there yet will not be.")

    def _places(self) -> Any:
        seen = PayoutDestination.objects.in_use().filter(account=self.account).select_related("account")
        return seen if self.sees_money else seen.none()

    def _place(self, pk: Any) -> PayoutDestination:
        return self.row(forms.RetireDestinationForm(of=pk), self._places())

    def _payouts(self) -> Any:
        seen = Payout.objects.filter(account=self.account).select_related("account", "destination")
        return seen if self.sees_money else seen.none()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        now = clock.now()
        earned = earned_by(account=self.account, now=now) if self.sees_money else None
        places = list(self._places().order_by("-pk"))
        for place in places:
            place.said = words.KINDS[Provider(place.kind)]
            place.told = place.detail if self._shows_whole else place.shown
            place.waits = not place.is_usable(now=now)
            place.form = self.form(forms.RetireDestinationForm, place.pk)
        payouts, older = after(self._payouts(), self.request.GET.get("after"), ROWS)
        for payout in payouts:
            payout.said = words.said_of(payout)
            payout.can_be_taken_back = payout.status in PAYOUT_WAITING
            payout.form = self.form(forms.CancelPayoutForm, payout.pk)
        usable = [place for place in places if not place.waits]
        is_verified = self.request.user.email_verified_at is not None
        return super().get_context_data(
            earned=earned,
            bars=bars_of(earned.months) if earned else [],
            places=places,
            payouts=payouts,
            older=older,
            owns=self._owns,
            is_verified=is_verified,
            ask=self._ask(usable) if self._owns and is_verified and usable else None,
            add=self._add(places) if self._owns and is_verified else None,
            least=settings.PAYOUT_MIN_USD,
            fee=services.payout_fee(),
            delay_days=settings.EARNINGS_DELAY_SECONDS // 86_400,
            **kwargs,
        )

    @property
    def _shows_whole(self) -> bool:
        user = self.request.user
        return (
            self.role == Role.OWNER or user.has_perm("payments.send_payout") or user.has_perm("payments.decide_payout")
        )

    def _ask(self, usable: list[PayoutDestination]) -> forms.AskPayoutForm:
        form = self.form(forms.AskPayoutForm)
        form.fields["destination"].widget.choices = [(place.pk, _name(place)) for place in usable]
        return form

    def _add(self, places: list[PayoutDestination]) -> forms.AddDestinationForm:
        form = self.form(forms.AddDestinationForm)
        kinds = [kind for kind in Provider if kind == Provider.MANUAL or kind in PROVIDERS]
        form.fields["kind"].widget.choices = [(kind, words.KINDS[kind]) for kind in kinds]
        form.fields["replaces"].widget.choices = [("", "None"), *((place.pk, _name(place)) for place in places)]
        return form


def has_earnings(page: OfAccount) -> bool:
    """Tell whether the page means something to an account: it has hosts, or earned once."""
    earned = Q(kind__in=(PENDING, EARNINGS), owner_key=page.account.owner_key)
    return Host.objects.filter(account=page.account).exists() or Balance.objects.filter(earned, asset="USD").exists()


def bars_of(months: list[tuple[Any, int]]) -> list[dict[str, Any]]:
    """Give the bars of a chart, one a month, of at most HEIGHT units."""
    top = max((amount for _, amount in months), default=0)
    bars = []
    for index, (month, amount) in enumerate(months):
        height = amount * HEIGHT // top if top else 0
        bars.append({"month": month, "amount": amount, "x": index * WIDE, "y": HEIGHT - height, "height": height})
    return bars


def _name(place: PayoutDestination) -> str:
    return f"{place.label or words.KINDS[Provider(place.kind)]} {place.shown}"
