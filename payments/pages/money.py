"""What the pages of an account's money share."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect

from accounts.choices import Role
from accounts.pages.of_account import OfAccount
from gaas.lib import clock
from gaas.lib.pages.board import MovingForm
from gaas.outbox.services import once
from payments import services
from payments.models import Payment
from payments.pages import forms, words


class OfMoney(OfAccount):
    """Show money of an account to its members and to staff who may see payments; its owners alone pay in."""

    @cached_property
    def sees_money(self) -> bool:
        return self.role is not None or bool(self.request.user.has_perm("payments.view_payment"))

    @property
    def may_pay(self) -> bool:
        return self.role == Role.OWNER and self.account.closed_at is None

    def payments(self) -> Any:
        seen = Payment.objects.filter(account=self.account).select_related("account", "chain")
        return seen if self.sees_money else seen.none()

    def do_cancel_payment(self, form: forms.CancelPaymentForm) -> HttpResponse:
        payment = self.row(form, self.payments())
        services.cancel_payment(payment=payment, by=self.request.user, now=clock.now())
        return self.done("It is given up. Should the money come all the same, it is credited.")

    def once(self, form: MovingForm, act: Any) -> tuple[HttpResponse, bool]:
        """Do a form's work once for its key, and lead to the path that `act` gives."""
        asked = {name: value for name, value in form.cleaned_data.items() if name != "key"}
        path, is_first = once(
            user_id=self.request.user.pk,
            key=form.cleaned_data["key"],
            route=f"{self.request.path} ({form.verb})",
            asked=asked,
            act=act,
            now=clock.now(),
        )
        return redirect(path), is_first

    def described(self, payments: list[Payment]) -> list[Payment]:
        """Put on each payment what people read of it."""
        for payment in payments:
            payment.said = words.said_of(payment)
            payment.path = words.payment_path(payment)
            payment.way = words.WAYS[payment.provider]
        return payments

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sees_money=self.sees_money, may_pay=self.may_pay, **kwargs)
