"""Pages of what one has: the list of accounts, and each account with its limits."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, F, Value, When
from django.http import HttpResponse
from django.urls import reverse

from accounts import services
from accounts.choices import AccountKind, CapPeriod, PaysFrom, Role
from accounts.models import Account, ApprovalThreshold, CapRule, Invitation
from accounts.pages import family_forms as forms
from accounts.pages.of_account import OfAccount, describe, url
from accounts.services.organisations import came_by_consent
from gaas.lib import clock
from gaas.lib.pages.board import Board, page_of
from gaas.lib.rest.throttles import count_call

MOST_LETTERS = 100
OPEN_FIRST = F("closed_at").asc(nulls_first=True)


class Accounts(Board):
    """List the accounts that one is a member of, one's own first; make an organisation's."""

    template_name = "accounts/accounts.html"
    kinds = (forms.CreateAccountForm,)

    def do_create_account(self, form: forms.CreateAccountForm) -> HttpResponse:
        made = services.create_account(name=form.cleaned_data["name"], by=self.request.user)
        return self.done(f"{made} is made, and you own it.", to=reverse("account", args=[made.pk]))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        own_first = Case(When(person=user, then=Value(0)), default=Value(1))
        # Those under accounts that one manages stand on the pages of their parents.
        mine = Account.objects.filter(memberships__user=user).order_by(OPEN_FIRST, own_first, "name", "pk")
        page = page_of(mine, self.request.GET.get("page"))
        roles = dict(user.memberships.values_list("account_id", "role"))
        describe(page.object_list, roles)
        return super().get_context_data(
            page=page,
            has_organisation=any(account.kind == AccountKind.ORGANISATION for account in page),
            create=self.form(forms.CreateAccountForm),
            **kwargs,
        )


class OneAccount(OfAccount):
    """Show what an account has and what bounds it; whoever manages its parent shares and sets limits here."""

    template_name = "accounts/account.html"
    kinds = (
        forms.FundForm,
        forms.ReclaimForm,
        forms.SetCapForm,
        forms.RemoveCapForm,
        forms.SetThresholdForm,
        forms.RemoveThresholdForm,
        forms.PaysFromForm,
        forms.RenameForm,
        forms.UnlinkForm,
        forms.SetLowMarkForm,
    )

    def do_fund(self, form: forms.FundForm) -> HttpResponse:
        services.fund(account=self._above, to=self.account, by=self.request.user, **form.cleaned_data)
        return self.done(f"{self.account} has it now.")

    def do_reclaim(self, form: forms.ReclaimForm) -> HttpResponse:
        services.reclaim(account=self._above, source=self.account, by=self.request.user, **form.cleaned_data)
        return self.done(f"It is back with {self._above}.")

    def do_set_cap(self, form: forms.SetCapForm) -> HttpResponse:
        rule = services.set_cap(
            account=self.account,
            asset=form.cleaned_data["asset"],
            period=CapPeriod(form.cleaned_data["period"]),
            limit=form.cleaned_data["amount"],
            by=self.request.user,
            now=clock.now(),
        )
        return self.done(f"The cap is set: {rule}.")

    def do_remove_cap(self, form: forms.RemoveCapForm) -> HttpResponse:
        rules = CapRule.objects.filter(account=self.account).select_related("account__parent")
        services.remove_cap(rule=self.row(form, rules), by=self.request.user)
        return self.done("The cap is lifted.")

    def do_set_threshold(self, form: forms.SetThresholdForm) -> HttpResponse:
        services.set_threshold(
            account=self.account,
            asset=form.cleaned_data["asset"],
            above=form.cleaned_data["amount"],
            by=self.request.user,
        )
        return self.done("The threshold is set.")

    def do_remove_threshold(self, form: forms.RemoveThresholdForm) -> HttpResponse:
        thresholds = ApprovalThreshold.objects.filter(account=self.account).select_related("account__parent")
        services.remove_threshold(threshold=self.row(form, thresholds), by=self.request.user)
        return self.done("The threshold is removed.")

    def do_set_low_mark(self, form: forms.SetLowMarkForm) -> HttpResponse:
        services.set_low_mark(
            account=self.account,
            asset=form.cleaned_data["asset"],
            below=form.cleaned_data["amount"],
            by=self.request.user,
        )
        return self.done("Noted. A letter comes each time it falls below that.")

    def do_set_pays_from(self, form: forms.PaysFromForm) -> HttpResponse:
        services.set_pays_from(account=self.account, by=self.request.user, **form.cleaned_data)
        return self.done("Its next tasks are paid so.")

    def do_rename(self, form: forms.RenameForm) -> HttpResponse:
        services.rename_account(account=self.account, by=self.request.user, **form.cleaned_data)
        return self.done("It has its new name.")

    @property
    def _may_choose_payer(self) -> bool:
        if not came_by_consent(self.account):
            return self.may_limit
        # Both began it by a letter; either ends it.
        return self.account.pays_from == PaysFrom.PARENT and (self.may_limit or self.role == Role.OWNER)

    def do_unlink(self, form: forms.UnlinkForm) -> HttpResponse:
        services.move_account(account=self.account, parent=None, by=self.request.user)
        seen = Account.objects.visible_to(self.request.user).filter(pk=self.account.pk).exists()
        return self.done(f"{self.account} stands alone now.", to="" if seen else reverse("accounts"))

    @property
    def _above(self) -> Account:
        # Without a parent the account itself is named: the verb says that it does not stand below.
        return self.account.parent or self.account

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        account, is_open = self.account, self.account.closed_at is None
        caps = list(CapRule.objects.filter(account=account).order_by("asset", "period"))
        services.add_standing(caps, now=clock.now())
        thresholds = list(ApprovalThreshold.objects.filter(account=account).order_by("asset"))
        for cap in caps:
            cap.form = self.form(forms.RemoveCapForm, cap.pk)
        for threshold in thresholds:
            threshold.form = self.form(forms.RemoveThresholdForm, threshold.pk)
        may_limit, above = self.may_limit and is_open, account.parent
        described = [account, *([above] if above is not None and self.parent_seen else [])]
        describe(described, {})
        return super().get_context_data(
            caps=caps,
            thresholds=thresholds,
            may_limit=may_limit,
            may_share=self.may_share and is_open,
            pays_itself=account.pays_from == PaysFrom.SELF,
            fund=self.form(forms.FundForm),
            reclaim=self.form(forms.ReclaimForm),
            set_cap=self.form(forms.SetCapForm, period=CapPeriod.MONTH),
            set_threshold=self.form(forms.SetThresholdForm),
            set_pays_from=self.form(forms.PaysFromForm, pays_from=account.pays_from),
            may_choose_payer=is_open and above is not None and self._may_choose_payer,
            may_unlink=is_open and above is not None and (self.may_own or self._owns_above),
            unlink=self.form(forms.UnlinkForm),
            storage=services.storage_of(account),
            low_marks=services.marks_of(account),
            set_low_mark=self.form(forms.SetLowMarkForm),
            rename=self.form(forms.RenameForm, name=account.name),
            **kwargs,
        )


class Children(OfAccount):
    """List the accounts right below one, with what can be taken back; make another, or ask for somebody's."""

    template_name = "accounts/children.html"
    kinds = (forms.CreateChildForm, forms.InviteChildForm, forms.WithdrawForm)

    def do_create_child(self, form: forms.CreateChildForm) -> HttpResponse:
        made = services.create_child(parent=self.account, by=self.request.user, **form.cleaned_data)
        return self.done(f"{made} is made. Give it hours, set its limits and invite its members here.", to=url(made))

    def do_invite_child(self, form: forms.InviteChildForm) -> HttpResponse:
        count_call("invite", meta=self.request.META, name=str(self.request.user.pk))
        services.invite_child(account=self.account, by=self.request.user, now=clock.now(), **form.cleaned_data)
        return self.done(f"A letter is on its way to {form.cleaned_data['email']}. Its link is good for seven days.")

    def do_withdraw(self, form: forms.WithdrawForm) -> HttpResponse:
        offered = self.row(form, self.account.invitations.to_link().select_related("account__parent"))
        services.revoke_invitation(invitation=offered, by=self.request.user, now=clock.now())
        return self.done(f"The link of the letter to {offered.email} is worth nothing any more.")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        seen = Account.objects.visible_to(self.request.user).filter(parent=self.account)
        page = page_of(seen.order_by(OPEN_FIRST, "name", "pk"), self.request.GET.get("page"))
        describe(page.object_list, {})
        caps = list(CapRule.objects.filter(account__in=[child.pk for child in page]).order_by("asset", "period"))
        services.add_standing(caps, now=clock.now())
        may_share = self.role is not None and self.role >= Role.MANAGER
        back = services.reclaimable_of_each(account=self.account, children=page.object_list) if may_share else {}
        for child in page:
            child.caps = [cap for cap in caps if cap.account_id == child.pk]
            child.reclaimable = back.get(child.pk)
        return super().get_context_data(
            page=page,
            letters=self._letters() if self.may_manage else [],
            create=self.form(forms.CreateChildForm),
            invite_child=self.form(forms.InviteChildForm),
            **kwargs,
        )

    def _letters(self) -> list[Invitation]:
        open_ = self.account.invitations.to_link().acceptable(now=clock.now())
        letters = list(open_.select_related("invited_by").order_by("-pk")[:MOST_LETTERS])
        for letter in letters:
            letter.form = self.form(forms.WithdrawForm, letter.pk)
        return letters
