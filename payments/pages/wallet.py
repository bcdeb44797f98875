"""The pages of an account's wallet: what is in it, how it got there, and how more comes in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.functional import cached_property

from accounts.choices import PaysFrom
from accounts.ledger.models import Balance, Hold, Transfer
from accounts.models import Account
from accounts.services import balances_of
from gaas.lib import clock
from gaas.lib.pages.board import after
from gaas.lib.qr import data_uri
from payments import services, subjects
from payments.choices import PAYMENT_OPEN, PaymentStatus, Provider
from payments.models import Payment
from payments.pages import forms, words
from payments.pages.money import OfMoney
from payments.providers import PROVIDERS

ROWS = 25
MOST_HELD = 50
MOST_OPEN = 20


class Wallet(OfMoney):
    """Show what an account has, what is held and for what, and each movement; its owners pay in."""

    template_name = "payments/wallet.html"
    kinds = (forms.CardForm, forms.ChainForm, forms.TransferForm, forms.CancelPaymentForm)

    def do_pay_by_card(self, form: forms.CardForm) -> HttpResponse:
        return self._begin(form, Provider.STRIPE)

    def do_pay_by_chain(self, form: forms.ChainForm) -> HttpResponse:
        return self._begin(form, Provider.ONCHAIN)

    def do_pay_by_transfer(self, form: forms.TransferForm) -> HttpResponse:
        return self._begin(form, Provider.MANUAL)

    def _begin(self, form: forms.TopUpForm, provider: Provider) -> HttpResponse:
        """Begin one payment for however many clicks, tell its provider at once, and lead to the payment's page.

        From there a card's payer is led on: a form may lead to no other site (`form-action`), a page may.
        """
        begun: list[Payment] = []

        def act() -> str:
            begun[:] = [
                services.start_payment(
                    account=self.account,
                    provider=provider,
                    amount=form.cleaned_data["amount"],
                    by=self.request.user,
                    now=clock.now(),
                )
            ]
            return words.payment_path(begun[0]) + ("?go" if provider == Provider.STRIPE else "")

        answer, is_first = self.once(form, act)
        if is_first and begun[0].look_at is not None:
            services.follow(payment_id=begun[0].pk, now=clock.now())
        return answer

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        account = self.account
        open_ = list(self.payments().filter(status__in=sorted(PAYMENT_OPEN)).order_by("-pk")[:MOST_OPEN])
        for payment in self.described(open_):
            payment.form = self.form(forms.CancelPaymentForm, payment.pk)
        lines, older = self._history()
        return super().get_context_data(
            balances=balances_of(account),
            owes=services.owed_by(account),
            pays_itself=account.pays_from == PaysFrom.SELF,
            payer=self._payer(),
            held=self._held(),
            open_payments=open_,
            lines=lines,
            older=older,
            is_first_page=not self.request.GET.get("after"),
            has_payments=self.payments().exists(),
            card=self._form(forms.CardForm, Provider.STRIPE),
            chain=self._form(forms.ChainForm, Provider.ONCHAIN),
            chain_symbol=settings.CHAIN_SYMBOL,
            transfer=self._form(forms.TransferForm, Provider.MANUAL),
            **kwargs,
        )

    def _form(self, kind: Any, provider: Provider) -> Any:
        is_set_up = bool(settings.MANUAL_PAYMENT_TO) if provider == Provider.MANUAL else provider in PROVIDERS
        return self.form(kind) if is_set_up and self.may_pay else None

    def _payer(self) -> Account | None:
        """Give whose wallet pays instead of this one, to whom may see it."""
        if self.account.pays_from == PaysFrom.SELF:
            return None
        return Account.objects.visible_to(self.request.user).filter(pk=self.account.payer().pk).first()

    @cached_property
    def _wallet(self) -> Balance | None:
        """Find the wallet without opening one: nothing is written where somebody only looks."""
        return Balance.objects.filter(asset="USD", kind="wallet", owner_key=self.account.owner_key).first()

    def _held(self) -> list[Hold]:
        if self._wallet is None or not self.sees_money:
            return []
        held = list(Hold.objects.open().filter(balance=self._wallet).order_by("-pk")[:MOST_HELD])
        named = subjects.name_all({(row.purpose, row.ref) for row in held}, self.request.user)
        for row in held:
            row.about = named[row.purpose, row.ref]
        return held

    def _history(self) -> tuple[list[words.Line], str]:
        """Give a page of transfers; two index walks and a merge, since one over both sides would sort all."""
        wallet, last = self._wallet, self.request.GET.get("after")
        if wallet is None or not self.sees_money:
            return [], ""
        rows = Transfer.objects.select_related("debit", "credit", "hold")
        went, more_went = after(rows.filter(debit=wallet), last, ROWS)
        came, more_came = after(rows.filter(credit=wallet), last, ROWS)
        both = sorted([*went, *came], key=lambda row: row.pk, reverse=True)
        shown = both[:ROWS]
        is_more = bool(more_went or more_came) or len(both) > ROWS
        return words.lines_of(shown, wallet, self.request.user), str(shown[-1].pk) if is_more else ""


class Payments(OfMoney):
    """List an account's payments, also those of which nothing came."""

    template_name = "payments/payments.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        rows, older = after(self.payments(), self.request.GET.get("after"), ROWS)
        return super().get_context_data(payments=self.described(rows), older=older, **kwargs)


class OnePayment(OfMoney):
    """Show how far a payment is and what its payer has to do; a small script keeps it true, and it works without."""

    template_name = "payments/payment.html"
    kinds = (forms.CancelPaymentForm, forms.TransactionForm)

    @cached_property
    def payment(self) -> Payment:
        payment: Payment = get_object_or_404(self.payments(), pk=self.kwargs["payment_id"])
        return self.described([payment])[0]

    def do_name_transaction(self, form: forms.TransactionForm) -> HttpResponse:
        named = services.claim_transaction(
            payment=self.payment, tx_hash=form.cleaned_data["hash"], by=self.request.user, now=clock.now()
        )
        services.follow(payment_id=named.pk, now=clock.now())
        return redirect(words.payment_path(named))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        payment, told = self.payment, self.payment.instructions
        is_open, by_chain = payment.is_open, payment.provider == Provider.ONCHAIN
        is_told = is_open and by_chain and "send_to" in told
        refunds = list(payment.refunds.order_by("pk"))
        for refund in refunds:
            refund.said = words.said_of_refund(refund)
        return super().get_context_data(
            payment=payment,
            told=told,
            go_to=told.get("go_to", "") if is_open and self.may_pay else "",
            is_led_on=is_open and "go" in self.request.GET,
            is_being_made=payment.status == PaymentStatus.CREATED,
            qr=data_uri(words.chain_uri(told)) if is_told else "",
            is_told=is_told,
            pay_to=settings.MANUAL_PAYMENT_TO if is_open and payment.provider == Provider.MANUAL else "",
            refunds=refunds,
            events=payment.events.order_by("pk"),
            in_review=payment.reviews.waiting().exists(),
            cancel=self.form(forms.CancelPaymentForm, payment.pk) if is_open and self.may_pay else None,
            name=self.form(forms.TransactionForm) if by_chain and not payment.is_paid and self.may_pay else None,
            **kwargs,
        )
