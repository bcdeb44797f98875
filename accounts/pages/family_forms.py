"""What the pages of an account, its members and its children ask for."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.choices import CapPeriod, PaysFrom, Role
from accounts.services.caps import MAX_LIMIT
from accounts.services.hours import MAX_GRANT_MS
from gaas.lib.amounts import MICRO
from gaas.lib.emails import check_email
from gaas.lib.pages.board import MovingForm, VerbForm
from gaas.lib.pages.fields import ASSETS, RuledField, amount_field, read_amount
from gaas.lib.rest.fields import TextField

MOST_MOVED = {"GPU": MAX_GRANT_MS, "USD": 1_000_000_000 * MICRO}
MOST_LIMIT = {"GPU": MAX_LIMIT, "USD": MAX_LIMIT}
PERIODS = {CapPeriod.DAY: "A day", CapPeriod.WEEK: "A week", CapPeriod.MONTH: "A month", CapPeriod.TOTAL: "In total"}
PAYERS = {PaysFrom.SELF: "Itself, from what it is given", PaysFrom.PARENT: "The account above it"}
OFFERS = {PaysFrom.SELF: "Itself", PaysFrom.PARENT: "The account above it, if its owner takes that up"}
ROLES = {
    Role.VIEWER: "Viewer: sees all, changes nothing",
    Role.MEMBER: "Member: submits tasks",
    Role.MANAGER: "Manager: invites, makes children, shares hours",
    Role.OWNER: "Owner: decides on roles too",
}


def name_field() -> RuledField:
    return RuledField(TextField(max_length=150), label="Name", max_length=150)


class CreateAccountForm(VerbForm):
    verb, button = "create_account", "Make it"

    name = name_field()


class CreateChildForm(VerbForm):
    verb, button = "create_child", "Make it"

    name = name_field()
    pays_from = forms.ChoiceField(label="Who pays for its tasks", choices=PAYERS)


class ShareForm(MovingForm):
    attrs = {"hours": "amount", "amount_usd": "amount"}

    amount = amount_field()
    asset = forms.ChoiceField(label="Of what", choices=ASSETS)

    def clean(self) -> dict[str, Any]:
        read_amount(self, allow_zero=False, most=MOST_MOVED)
        return self.cleaned_data


class FundForm(ShareForm):
    verb, button = "fund", "Give"


class ReclaimForm(ShareForm):
    verb, button = "reclaim", "Take back"


class LimitForm(VerbForm):
    amount = amount_field()
    asset = forms.ChoiceField(label="Of what", choices=ASSETS)

    def clean(self) -> dict[str, Any]:
        read_amount(self, allow_zero=True, most=MOST_LIMIT)
        return self.cleaned_data


class SetCapForm(LimitForm):
    verb, button = "set_cap", "Set the cap"

    period = forms.ChoiceField(label="How often", choices=PERIODS, initial=CapPeriod.MONTH)


class RemoveCapForm(VerbForm):
    verb, button = "remove_cap", "Lift"


class SetThresholdForm(LimitForm):
    verb, button = "set_threshold", "Set the threshold"


class SetLowMarkForm(LimitForm):
    verb, button = "set_low_mark", "Tell us then"


class RemoveThresholdForm(VerbForm):
    verb, button = "remove_threshold", "Remove"


class PaysFromForm(VerbForm):
    verb, button = "set_pays_from", "Change"

    pays_from = forms.ChoiceField(label="Who pays for its tasks", choices=PAYERS)


class RenameForm(VerbForm):
    verb, button = "rename", "Rename"

    name = name_field()


class InviteForm(VerbForm):
    verb, button = "invite", "Send the letter"

    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        validators=[check_email],
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    role = forms.ChoiceField(label="Role", choices=ROLES, initial=Role.MEMBER)


class InviteChildForm(VerbForm):
    verb, button = "invite_child", "Send the letter"

    email = forms.EmailField(
        label="E-mail address of who owns it",
        max_length=254,
        validators=[check_email],
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    pays_from = forms.ChoiceField(label="Who pays for its tasks", choices=OFFERS)


class UnlinkForm(VerbForm):
    verb, button = "unlink", "Let it stand alone"


class ChangeRoleForm(VerbForm):
    verb, button = "change_role", "Change"

    role = forms.ChoiceField(label="Role", choices=ROLES)


class RemoveMemberForm(VerbForm):
    """Serve for leaving too, which is removing oneself."""

    verb, button = "remove_member", "Remove"


class WithdrawForm(VerbForm):
    verb, button = "withdraw", "Withdraw"
