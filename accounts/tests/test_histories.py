"""How each policy stood, and who set it so."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts import services
from accounts.choices import CapPeriod, PaysFrom, Role
from accounts.models import Account, ApprovalThreshold, CapRule, Membership
from gaas.lib import clock
from gaas.lib.errors import NotAllowed

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


def versions(model, field, **which):
    """Give type, value and who of each version, the oldest first."""
    rows = model.history.filter(**which).order_by("history_id").select_related("history_user")
    return [(row.history_type, getattr(row, field), row.history_user) for row in rows]


def cap(child, hours, by):
    return services.set_cap(
        account=child, asset="GPU", period=CapPeriod.MONTH, limit=hours * HOUR, by=by, now=clock.now()
    )


class TestHistories:
    def test_a_cap_set_changed_and_lifted(self, pat, child):
        cap(child, 5, pat)
        rule = cap(child, 7, pat)
        services.remove_cap(rule=rule, by=pat)
        assert versions(CapRule, "limit", account=child) == [
            ("+", 5 * HOUR, pat),
            ("~", 7 * HOUR, pat),
            ("-", 7 * HOUR, pat),
        ]

    def test_a_threshold_set_changed_and_removed(self, pat, child):
        services.set_threshold(account=child, asset="USD", above=5, by=pat)
        threshold = services.set_threshold(account=child, asset="USD", above=6, by=pat)
        services.remove_threshold(threshold=threshold, by=pat)
        assert versions(ApprovalThreshold, "above", account=child) == [("+", 5, pat), ("~", 6, pat), ("-", 6, pat)]

    def test_who_pays_for_an_account(self, pat, family):
        child = services.create_child(parent=family, name="New", by=pat)
        services.set_pays_from(account=child, pays_from=PaysFrom.PARENT, by=pat)
        assert versions(Account, "pays_from", id=child.pk) == [("+", "SELF", pat), ("~", "PARENT", pat)]

    def test_a_move_is_seen_with_what_ends_by_it(self, pat, charlie, family, child):
        Membership.objects.filter(account=child, user=charlie).update(role=Role.OWNER)
        cap(child, 5, pat)
        services.set_threshold(account=child, asset="USD", above=5, by=pat)
        services.move_account(account=child, parent=None, by=charlie)
        assert versions(Account, "parent_id", id=child.pk)[-1] == ("~", None, charlie)
        assert versions(Account, "pays_from", id=child.pk)[-1] == ("~", "SELF", charlie)
        assert versions(CapRule, "limit", account=child)[-1] == ("-", 5 * HOUR, charlie)
        assert versions(ApprovalThreshold, "above", account=child)[-1] == ("-", 5, charlie)

    def test_a_refused_change_leaves_none(self, charlie, child):
        with pytest.raises(NotAllowed):
            cap(child, 5, charlie)
        assert CapRule.history.count() == 0


class TestPage:
    def test_it_shows_who_changed_what(self, client, root, pat, child):
        cap(child, 5, pat)
        rule = cap(child, 7, pat)
        client.force_login(root)
        page = client.get(reverse("admin:accounts_caprule_history", args=[rule.pk])).content.decode()
        assert str(pat) in page
        assert "7.000000 h" in page
        assert "5.000000 h" in page
        assert str(7 * HOUR) not in page

    def test_an_old_version_is_read_and_not_gone_back_to(self, client, root, pat, child):
        services.rename_account(account=child, name="Renamed", by=root)
        old = Account.history.filter(id=child.pk).earliest()
        url = reverse("admin:accounts_account_simple_history", args=[child.pk, old.pk])
        client.force_login(root)
        page = client.get(url)
        assert page.status_code == 200
        assert "there to be read" in page.content.decode()
        assert 'name="name"' not in page.content.decode()
        assert client.post(url, {"name": "Child", "pays_from": "SELF"}).status_code == 403
        child.refresh_from_db()
        assert child.name == "Renamed"

    def test_it_is_for_who_may_view_the_policy(self, client, charlie, child, pat):
        rule = cap(child, 5, pat)
        charlie.is_staff = True
        charlie.save()
        client.force_login(charlie)
        assert client.get(reverse("admin:accounts_caprule_history", args=[rule.pk])).status_code == 403
