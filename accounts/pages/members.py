"""Pages of who belongs to an account, and of joining one by a letter."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.generic import View

from accounts import services
from accounts.choices import InvitationKind, Role
from accounts.models import Account, Invitation, Membership
from accounts.pages import family_forms as forms
from accounts.pages.link_form import LinkForm
from accounts.pages.of_account import OfAccount, url
from accounts.pages.views import INVITATION
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.lib.pages.board import page_of
from gaas.lib.rest.throttles import count_call

MOST_INVITATIONS = 100
BELOW_OWNER = [(role, words) for role, words in forms.ROLES.items() if role != Role.OWNER]


class Members(OfAccount):
    """List members and open invitations; invite, change a role, remove, leave, withdraw."""

    template_name = "accounts/members.html"
    kinds = (forms.InviteForm, forms.ChangeRoleForm, forms.RemoveMemberForm, forms.WithdrawForm)

    def do_invite(self, form: forms.InviteForm) -> HttpResponse:
        count_call("invite", meta=self.request.META, name=str(self.request.user.pk))
        email, role = form.cleaned_data["email"], Role(form.cleaned_data["role"])
        services.invite(account=self.account, email=email, role=role, by=self.request.user, now=clock.now())
        return self.done(f"A letter is on its way to {email}. Its link is good for seven days.")

    def do_change_role(self, form: forms.ChangeRoleForm) -> HttpResponse:
        role = Role(form.cleaned_data["role"])
        changed = services.change_role(membership=self._member(form), role=role, by=self.request.user)
        return self.done(f"The role of {changed.user} is {role.label.lower()} now.")

    def do_remove_member(self, form: forms.RemoveMemberForm) -> HttpResponse:
        member = self._member(form)
        services.remove_member(membership=member, by=self.request.user)
        if member.user_id != self.request.user.pk:
            return self.done(f"{member.user} is no member any more.")
        return self.done(f"You left {self.account}.", to=reverse("accounts"))

    def do_withdraw(self, form: forms.WithdrawForm) -> HttpResponse:
        offered = self.row(form, self.account.invitations.to_join().select_related("account__parent"))
        services.revoke_invitation(invitation=offered, by=self.request.user, now=clock.now())
        return self.done(f"The link of the letter to {offered.email} is worth nothing any more.")

    def _member(self, form: forms.VerbForm) -> Membership:
        member: Membership = self.row(form, self.account.memberships.select_related("user", "account__parent"))
        return member

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user, account = self.request.user, self.account
        if self.role is None and not user.has_perm("accounts.view_membership"):
            raise PermissionDenied("seeing members takes membership")
        ranks = Case(*(When(role=role, then=Value(-role.rank)) for role in Role))
        page = page_of(account.memberships.select_related("user").order_by(ranks, "pk"), self.request.GET.get("page"))
        for member in page:
            self._offer(member)
        offered = list(
            account.invitations.to_join()
            .acceptable(now=clock.now())
            .select_related("invited_by")
            .order_by("-pk")[:MOST_INVITATIONS]
        )
        for one in offered:
            if self.may_own or (self.may_manage and one.role != Role.OWNER):
                one.form = self.form(forms.WithdrawForm, one.pk)
        invite = self.form(forms.InviteForm, role=Role.MEMBER)
        if not self.may_own:
            invite.fields["role"].widget.choices = BELOW_OWNER
        return super().get_context_data(page=page, invitations=offered, invite=invite, **kwargs)

    def _offer(self, member: Membership) -> None:
        """Put on a row the forms of what its visitor may do with it."""
        account, is_self = self.account, member.user_id == self.request.user.pk
        member.is_self = is_self
        # Whose personal account it is owns it always.
        if account.closed_at is not None or account.person_id == member.user_id:
            return
        if self.may_own:
            member.role_form = self.form(forms.ChangeRoleForm, member.pk, role=member.role)
        if is_self or self.may_own or (self.may_manage and Role(member.role) < Role.MANAGER):
            member.remove_form = self.form(forms.RemoveMemberForm, member.pk)


@method_decorator(never_cache, name="dispatch")
class JoinAccount(View):
    """Where an invitation's link leads. Following it changes nothing, since mail scanners follow links too."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._show(request, request.GET.get("token", ""))

    def post(self, request: HttpRequest) -> HttpResponse:
        token = request.POST.get("token", "")
        if not request.user.is_authenticated:
            here = f"{request.path}?{urlencode({'token': token})}"
            return redirect(f"{reverse('account_login')}?{urlencode({'next': here})}")
        found = services.find_invitation(token=token, now=clock.now())
        try:
            if found is not None and found.kind == InvitationKind.CHILD:
                return self._link(request, token, found)
            joined = services.accept_invitation(token=token, by=request.user, now=clock.now())
        except DomainError as refusal:
            return self._show(request, token, refusal)
        messages.success(request, f"You belong to {joined.account} now, as {joined.get_role_display().lower()}.")
        return redirect(url(Account(pk=joined.account_id)))

    def _link(self, request: HttpRequest, token: str, letter: Invitation) -> HttpResponse:
        form = LinkForm(request.POST, letter=letter, by=request.user)
        if not form.is_valid():
            return self._show(request, token, form=form, status=400)
        account, pays_from = form.chosen(), form.cleaned_data["pays_from"]
        linked = services.accept_link(
            token=token, account=account, pays_from=pays_from, by=request.user, now=clock.now()
        )
        messages.success(request, f"{linked} stands below {letter.account} now.")
        return redirect(url(linked))

    def _show(
        self,
        request: HttpRequest,
        token: str,
        refusal: DomainError | None = None,
        form: LinkForm | None = None,
        status: int = 200,
    ) -> HttpResponse:
        found = services.find_invitation(token=token, now=clock.now())
        user = request.user
        if found and user.is_authenticated and user.email == found.email and user.email_verified_at is None:
            # Where confirming the address leads afterwards.
            request.session[INVITATION] = token
        is_link = found is not None and found.kind == InvitationKind.CHILD
        if found is not None and is_link and user.is_authenticated and user.email == found.email:
            form = form or LinkForm(request.POST or None, letter=found, by=user)
        shown = {"invitation": found, "is_link": is_link, "token": token, "refusal": refusal, "form": form}
        status = refusal.status if refusal else status if found else 400
        return render(request, "accounts/join.html", shown, status=status)
