"""The pages of an account's contracts: what it gives and gets by agreement, and one of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts.choices import PaysFrom, Role
from accounts.models import Account
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.lib.pages.board import after
from gaas.lib.pages.fields import read
from gaas.lib.rest.fields import HoursField, UsdField
from payments import services
from payments.choices import ContractKind, ContractStatus, Side
from payments.models import Contract, ContractTerms
from payments.pages import contract_forms as forms
from payments.pages.money import OfMoney
from payments.services import ContractWanted, TermsWanted

ROWS = 25
MOST_NAMED = 100
TERMS = ("ends_on", "renewal", "shortfall", "roll_over", "catch_up")


class OfContracts(OfMoney):
    """Show contracts to members of either side, and to staff who may see contracts."""

    @cached_property
    def sees_money(self) -> bool:
        return self.role is not None or bool(self.request.user.has_perm("payments.view_contract"))

    def contracts(self) -> Any:
        seen = Contract.objects.visible_to(self.request.user).select_related("payer", "payee")
        return seen.filter(Q(payer=self.account) | Q(payee=self.account))


class Contracts(OfContracts):
    """List an account's contracts; its managers propose allowances, its owners reservations."""

    template_name = "payments/contracts.html"
    kinds = (forms.AllowanceForm, forms.ReservationForm)

    def do_offer_allowance(self, form: forms.AllowanceForm) -> HttpResponse:
        data = form.cleaned_data
        terms = TermsWanted(asset=data["asset"], amount=data["amount"], **{name: data[name] for name in TERMS})
        return self._propose(form, ContractKind.ALLOWANCE, Account.objects.visible_to(self.request.user), terms)

    def do_reserve(self, form: forms.ReservationForm) -> HttpResponse:
        data = form.cleaned_data
        terms = TermsWanted(
            asset="GPU",
            amount=data["hours"],
            price=data["price"],
            gpu_model=data["gpu_model"] or "",
            **{name: data[name] for name in TERMS},
        )
        return self._propose(form, ContractKind.RESERVATION, self._owners(), terms)

    def _propose(self, form: Any, kind: str, others: Any, terms: TermsWanted) -> HttpResponse:
        data = form.cleaned_data

        def act() -> str:
            wanted = ContractWanted(
                kind=kind,
                title=data["title"],
                payer=self.account,
                payee=others.named(data["payee"], attr="payee"),
                starts_on=data["starts_on"],
                interval=data["interval"],
                time_zone=data["time_zone"],
            )
            made = services.create_contract(wanted, terms, by=self.request.user, now=clock.now())
            return path_of(made, self.account)

        return self.once(form, act)[0]

    def _owners(self) -> Any:
        offering = services.owners_offering_to(self.account)
        return Account.objects.filter(pk__in=offering).exclude(pk__in=[self.account.pk, self.account.payer().pk])

    def _form(self, kind: Any, others: Any) -> Any:
        choices = [(str(row.pk), str(row)) for row in others.order_by("name")[:MOST_NAMED]]
        if not choices:
            return None
        form = self.form(kind)
        form.fields["payee"].widget.choices = choices
        return form

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        seen = self.contracts() if self.sees_money else Contract.objects.none()
        rows, older = after(seen, self.request.GET.get("after"), ROWS)
        for row in rows:
            describe(row, self.account)
        is_open, user = self.account.closed_at is None, self.request.user
        least = self.account.spending_role_of(user)
        may_share = is_open and least is not None and least >= Role.MANAGER and self.account.pays_from == PaysFrom.SELF
        below = Account.objects.visible_to(user).under(self.account).exclude(pk=self.account.pk)
        below = below.filter(pays_from=PaysFrom.SELF, closed_at__isnull=True)
        may_reserve = is_open and least == Role.OWNER
        return super().get_context_data(
            contracts=rows,
            older=older,
            may_share=may_share,
            may_reserve=may_reserve,
            allowance=self._form(forms.AllowanceForm, below) if may_share else None,
            reservation=self._form(forms.ReservationForm, self._owners()) if may_reserve else None,
            **kwargs,
        )


class OneContract(OfContracts):
    """Show one contract: its terms, what waits for a yes, its periods and what is left of it."""

    template_name = "payments/contract.html"
    kinds = (
        forms.AcceptForm,
        forms.DeclineForm,
        forms.ChangeForm,
        forms.PauseForm,
        forms.ResumeForm,
        forms.CancelForm,
    )

    @cached_property
    def contract(self) -> Contract:
        rows = self.contracts() if self.sees_money else Contract.objects.none()
        return get_object_or_404(rows, pk=self.kwargs["contract_id"])

    def do_accept_terms(self, form: forms.AcceptForm) -> HttpResponse:
        return self._verb(services.accept_terms, "You accepted these terms.", version=form.cleaned_data["version"])

    def do_decline_terms(self, form: forms.DeclineForm) -> HttpResponse:
        return self._verb(services.decline, "The terms are off the table.", reason=form.cleaned_data["reason"])

    def do_pause_contract(self, form: forms.PauseForm) -> HttpResponse:
        return self._verb(services.pause_contract, "It is paused.", reason=form.cleaned_data["reason"])

    def do_resume_contract(self, form: forms.ResumeForm) -> HttpResponse:
        return self._verb(services.resume_contract, "It goes on.")

    def do_cancel_contract(self, form: forms.CancelForm) -> HttpResponse:
        return self._verb(services.cancel_contract, "It ends with the period.", reason=form.cleaned_data["reason"])

    def do_change_terms(self, form: forms.ChangeForm) -> HttpResponse:
        last, data = self._last, form.cleaned_data
        known = {name: getattr(last, name) for name in TermsWanted.__dataclass_fields__ if name != "asset"}
        terms = replace(
            TermsWanted(asset=last.asset_id, **known), ends_on=data["ends_on"], price=data.get("price") or 0
        )
        rule = (HoursField if last.asset_id == "GPU" else UsdField)(most=services.MOST)
        try:
            terms = replace(terms, amount=read(rule, data["amount"]))
        except forms.forms.ValidationError as wrong:
            raise DomainError(" ".join(wrong.messages), attr="amount") from wrong
        return self._verb(services.propose_terms, "The other side is asked.", terms=terms)

    def _verb(self, verb: Any, sentence: str, **about: Any) -> HttpResponse:
        verb(contract_id=self.contract.pk, by=self.request.user, now=clock.now(), **about)
        return self.done(sentence)

    @cached_property
    def _last(self) -> ContractTerms:
        last = self.contract.terms.select_related("asset").order_by("version").last()
        assert last is not None  # noqa: S101 a contract is made with its first terms
        return last

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        contract, last = self.contract, self._last
        mine = services.sides_of(contract, self.request.user)
        is_staff_of_it = bool(self.request.user.is_staff and self.request.user.has_perm("payments.change_contract"))
        may_steer = (bool(mine) or is_staff_of_it) and contract.is_running
        waiting = last if last.is_waiting and (contract.is_open or contract.is_running) else None
        may_accept = waiting is not None and contract.status != ContractStatus.DRAFT
        may_accept = may_accept and any(not last.has_accepted(side) for side in mine)
        periods, older = after(contract.periods.select_related("terms"), self.request.GET.get("after"), ROWS)
        in_force = services.terms_in_force(contract) if contract.activated_at else None
        change = None
        if mine and (contract.is_open or contract.is_running):
            unit = HoursField() if last.asset_id == "GPU" else UsdField()
            start = {"amount": unit.to_representation(last.amount), "ends_on": last.ends_on}
            change = self.form(forms.ChangeForm, price=UsdField().to_representation(last.price), **start)
            if contract.is_allowance:
                change.fields.pop("price", None)
        return super().get_context_data(
            contract=describe(contract, self.account),
            in_force=in_force,
            waiting=waiting,
            waits_for=[side.label.lower() for side in missing(waiting)] if waiting else [],
            left=services.left_of(contract) if contract.activated_at else None,
            periods=periods,
            older=older,
            accept=self.form(forms.AcceptForm, version=last.version) if may_accept else None,
            decline=self.form(forms.DeclineForm) if waiting and mine else None,
            change=change,
            pause=self.form(forms.PauseForm) if may_steer and contract.status in ("ACTIVE", "PAST_DUE") else None,
            resume=self.form(forms.ResumeForm) if may_steer and contract.status in ("PAUSED", "SUSPENDED") else None,
            cancel=self.form(forms.CancelForm) if may_steer and contract.stop_no is None else None,
            **kwargs,
        )


def missing(terms: ContractTerms) -> list[Any]:
    """List the sides that did not accept yet."""
    return [side for side in Side if not terms.has_accepted(side)]


def path_of(contract: Contract, account: Account) -> str:
    return reverse("account_contract", args=[account.pk, contract.pk])


def describe(contract: Any, account: Account) -> Any:
    """Put on a contract what people read of it."""
    contract.path = path_of(contract, account)
    contract.other = contract.payee if contract.payer_id == account.pk else contract.payer
    contract.said = _said(contract)
    return contract


def _said(contract: Contract) -> str:
    """Say in one sentence where a contract stands, and what is next."""
    due = contract.next_due
    day = f"{contract.schedule.day(contract.next_no):%-d %B %Y}" if due else ""
    match contract.status:
        case ContractStatus.DRAFT:
            return "A draft: nobody else sees it. Propose it to send it."
        case ContractStatus.PROPOSED:
            return "Its terms wait until both sides accepted them."
        case ContractStatus.ACTIVE:
            return (
                f"It runs; the next period begins on {day}." if due else "It was cancelled, and its last period runs."
            )
        case ContractStatus.PAST_DUE:
            return f"The period of {day} could not be paid and is tried again. {contract.trouble}"
        case ContractStatus.SUSPENDED:
            return f"It could not be paid and is not tried again until the payer resumes it. {contract.trouble}"
        case ContractStatus.PAUSED:
            return "It is paused: no period begins until it is resumed."
        case ContractStatus.DECLINED:
            return "It was declined or taken back."
    return "It has ended."
