"""What the letter asks for by which an account goes below another."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.choices import AccountKind, PaysFrom, Role
from accounts.models import Account, Invitation, User
from gaas.lib.errors import NotFound

MOST = 200
TAKES = {PaysFrom.SELF: "It itself, as now", PaysFrom.PARENT: "The account above it, as offered"}


class LinkForm(forms.Form):
    """Choose one of the accounts that the reader owns by membership, their own first, and who pays."""

    account = forms.ChoiceField(label="Which of your accounts")
    pays_from = forms.ChoiceField(label="Who pays for its tasks", choices=TAKES)

    def __init__(self, *args: Any, letter: Invitation, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owned = Account.objects.open().filter(memberships__user=by, memberships__role=Role.OWNER)
        owned = owned.exclude(kind=AccountKind.PLATFORM).exclude(pk=letter.account_id).order_by("name", "pk")[:MOST]
        self._owned = {str(row.pk): row for row in sorted(owned, key=lambda row: row.person_id != by.pk)}
        self.fields["account"].choices = [
            (pk, f"{row} (your own)" if row.person_id == by.pk else str(row)) for pk, row in self._owned.items()
        ]
        if letter.pays_from == PaysFrom.SELF:
            del self.fields["pays_from"]

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["pays_from"] = PaysFrom(self.cleaned_data.get("pays_from") or PaysFrom.SELF)
        return self.cleaned_data

    def chosen(self) -> Account:
        """Give the account; the form let no other through."""
        account = self._owned.get(self.cleaned_data["account"])
        if account is None:
            raise NotFound("No such account, or not one that you own.", attr="account")
        return account
