from __future__ import annotations

import pytest

from accounts.ledger.services import KeyReused
from accounts.services import PaysFromParent, TooManyHours, balances_of, balances_of_each, grant_hours
from accounts.services.hours import MAX_GRANT_MS
from gaas.audit.models import AuditEvent

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


class TestGrantHours:
    def test_it_grants_once_for_a_key(self, lab, dana):
        first = grant_hours(account=lab, gpu_ms=HOUR, by=dana, reason="A course", key="k")
        again = grant_hours(account=lab, gpu_ms=HOUR, by=dana, reason="A course", key="k")
        assert first.pk == again.pk
        assert (first.actor, first.memo, first.kind) == (str(dana.pk), "A course", "grant")
        assert balances_of(lab).hours_available == HOUR
        assert AuditEvent.objects.filter(action="account.grant_hours").count() == 1

    def test_another_grant_with_the_key_is_refused(self, lab, dana):
        grant_hours(account=lab, gpu_ms=HOUR, by=dana, reason="x", key="k")
        with pytest.raises(KeyReused):
            grant_hours(account=lab, gpu_ms=2 * HOUR, by=dana, reason="x", key="k")
        assert balances_of(lab).hours_available == HOUR

    @pytest.mark.parametrize("gpu_ms", [0, -1, MAX_GRANT_MS + 1])
    def test_it_refuses_odd_amounts(self, lab, dana, gpu_ms):
        with pytest.raises(TooManyHours):
            grant_hours(account=lab, gpu_ms=gpu_ms, by=dana, reason="x", key="k")

    def test_it_refuses_an_account_that_could_not_spend_them(self, child, dana):
        with pytest.raises(PaysFromParent):
            grant_hours(account=child, gpu_ms=HOUR, by=dana, reason="x", key="k")

    def test_a_long_reason_stands_whole_in_the_audit_trail(self, lab, dana):
        reason = "x" * 2000
        assert len(grant_hours(account=lab, gpu_ms=HOUR, by=dana, reason=reason, key="k").memo) == 500
        assert AuditEvent.objects.get(action="account.grant_hours").reason == reason


class TestBalances:
    def test_many_are_read_in_two_queries(self, lab, alice, family, child, dana, django_assert_num_queries):
        grant_hours(account=family, gpu_ms=HOUR, by=dana, reason="x", key="k")
        accounts = [lab, alice.personal_account, family, child]
        with django_assert_num_queries(2):
            balances = balances_of_each(accounts)
        assert [balances[account.pk].hours_available // HOUR for account in accounts] == [0, 10, 1, 1]

    def test_none_are_read_for_none(self):
        assert balances_of_each([]) == {}
