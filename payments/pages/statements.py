"""The pages of an account's statements: the month that runs, those that ended, and one of them."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import Any

from django.shortcuts import get_object_or_404

from accounts.pages.of_account import OfAccount
from gaas.lib import clock
from gaas.lib.pages.board import after
from payments.choices import StatementKind
from payments.models import Statement
from payments.services.statements import lines_of, movements_of, so_far
from payments.statement_rows import kind_in_words, owner_facts

ROWS = 24
# Movements on a page; the CSV has all.
MOST_LINES = 200


class OfStatements(OfAccount):
    """Show statements to members of the account, and to staff who may see statements."""

    @cached_property
    def sees_money(self) -> bool:
        return self.role is not None or bool(self.request.user.has_perm("payments.view_statement"))

    def statements(self) -> Any:
        seen = Statement.objects.visible_to(self.request.user).filter(account=self.account)
        return seen.select_related("account").prefetch_related("balances")


class Statements(OfStatements):
    """List the statements of an account, with the month that runs as it stands."""

    template_name = "payments/statements.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found, older = after(self.statements(), self.request.GET.get("after"), ROWS)
        return super().get_context_data(
            statements=found,
            older=older,
            running=self._running() if self.sees_money else [],
            sees_money=self.sees_money,
            **kwargs,
        )

    def _running(self) -> list[dict[str, Any]]:
        """Give this month's figures: of the account, and of what its GPUs earn where they ever did."""
        now = clock.now()
        parts = []
        for kind, title in ((StatementKind.ACCOUNT, "Hours and money"), (StatementKind.OWNER, "Earned with GPUs")):
            statement, balances = so_far(account=self.account, kind=kind, now=now)
            if balances:
                parts.append({"title": title, "statement": statement, "balances": balances})
        return parts


class OneStatement(OfStatements):
    """Show one month: what was there, what moved, what was left."""

    template_name = "payments/statement.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        statement = get_object_or_404(self.statements(), pk=self.kwargs["statement_id"])
        balances = list(statement.balances.all())
        summed = movements_of(statement, balances)
        lines = list(islice(lines_of(statement, balances), MOST_LINES + 1))
        return super().get_context_data(
            statement=statement,
            balances=balances,
            facts=owner_facts(statement),
            movements=[(kind_in_words(row.kind, comes_in=row.came > 0), row) for row in summed],
            lines=[(kind_in_words(line.kind, comes_in=line.amount > 0), line) for line in lines[:MOST_LINES]],
            has_more=len(lines) > MOST_LINES,
            most=MOST_LINES,
            **kwargs,
        )
