"""Who hears of what happens to an account, and whether it says so."""

from __future__ import annotations

from functools import partial

import pytest

from accounts.actors import watch_webhooks
from accounts.choices import Role
from accounts.ledger.tests.conftest import race
from accounts.models import Account, Membership
from accounts.services import change_account
from accounts.services import webhooks as services
from accounts.tests.test_webhooks import PUBLIC, URL, made
from gaas.lib import clock
from gaas.outbox.models import Mail, Webhook, WebhookDelivery
from gaas.outbox.services import tell
from gaas.outbox.tests.hooks import a_webhook

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(alice, api):
    return api(alice)


class TestHeard:
    """Account.is_listened tells whether to look for webhooks at all: it may never be false where one listens."""

    def test_it_is_said_of_the_account(self, client, lab):
        assert not lab.is_listened
        made(client, lab)
        lab.refresh_from_db()
        assert lab.is_listened

    def test_it_is_said_of_all_below_who_come_later_too(self, pat, api, family, child):
        hook = made(api(pat), family)
        child.refresh_from_db()
        assert not child.is_listened
        api(pat).patch(f"{URL}{hook['id']}/", {"includes_children": True}, format="json")
        child.refresh_from_db()
        assert child.is_listened
        family.refresh_from_db()
        assert Account.objects.create(name="Later", parent=family).is_listened

    def test_it_is_said_of_who_is_moved_there(self, pat, family, api):
        made(api(pat), family, includes_children=True)
        family.refresh_from_db()
        other = Account.objects.create(name="Other")
        Membership.objects.create(account=other, user=pat, role=Role.OWNER)
        below = Account.objects.create(name="Below it", parent=other)
        change_account(account=other, changes={"parent": family}, by=pat)
        below.refresh_from_db()
        assert below.is_listened
        assert tell(event="task.failed", account=below, data={}, now=clock.now()) == 1

    def test_who_manages_it_no_more_hears_no_more(self, pat, charlie, family, child, api):
        child.memberships.filter(user=charlie).update(role=Role.OWNER)
        below = Account.objects.create(name="Below it", parent=child)
        theirs = [made(api(pat), child), made(api(pat), below), made(api(pat), family, includes_children=True)]
        own = made(api(charlie), child)
        change_account(account=child, changes={"parent": None}, by=charlie)
        child.refresh_from_db()
        assert tell(event="task.failed", account=child, data={}, now=clock.now()) == 1
        assert str(WebhookDelivery.objects.get().webhook_id) == own["id"]
        off = Webhook.objects.filter(is_active=False)
        assert {str(pk) for pk in off.values_list("pk", flat=True)} == {hook["id"] for hook in theirs[:2]}
        watch_webhooks()
        assert set(Mail.objects.filter(key__startswith="webhook:").values_list("to", flat=True)) == {charlie.email}
        # They are the present managers' to keep.
        path = f"{URL}{theirs[0]['id']}/"
        assert api(charlie).patch(path, {"is_active": True}, format="json").status_code == 200
        assert api(pat).get(path).status_code == 404

    def test_all_that_hear_are_told_however_many(self, family, child):
        for _ in range(20):
            a_webhook(family, includes_children=True), a_webhook(child), a_webhook(child, includes_children=True)
        child.refresh_from_db()
        assert tell(event="task.completed", account=child, data={}, now=clock.now()) == 60
        assert WebhookDelivery.objects.count() == 60


def heard(*accounts):
    return [Account.objects.get(pk=account.pk).is_listened for account in accounts]


def remove(client, hook):
    assert client.delete(f"{URL}{hook['id']}/").status_code == 204


class TestHeardNoMore:
    """With the last webhook that may hear of an account goes the look for one."""

    def test_once_its_own_is_removed(self, client, lab):
        first, last = made(client, lab), made(client, lab)
        remove(client, first)
        assert heard(lab) == [True]
        remove(client, last)
        assert heard(lab) == [False]

    def test_nor_of_those_below_but_who_has_its_own(self, pat, api, family, child):
        other = Account.objects.create(name="Other", parent=family)
        below = Account.objects.create(name="Below it", parent=other)
        above, own = made(api(pat), family, includes_children=True), made(api(pat), other, includes_children=True)
        assert heard(family, child, other, below) == [True] * 4
        remove(api(pat), above)
        assert heard(family, child, other, below) == [False, False, True, True]
        remove(api(pat), own)
        assert heard(family, child, other, below) == [False] * 4

    def test_one_above_hears_still(self, pat, api, family, child):
        made(api(pat), family, includes_children=True)
        own = made(api(pat), child)
        remove(api(pat), own)
        assert heard(family, child) == [True, True]

    def test_once_it_hears_of_its_own_account_alone(self, pat, api, family, child):
        hook = made(api(pat), family, includes_children=True)
        api(pat).patch(f"{URL}{hook['id']}/", {"includes_children": False}, format="json")
        assert heard(family, child) == [True, False]

    def test_one_that_is_off_may_be_on_again(self, client, lab):
        hook, last = made(client, lab), made(client, lab)
        client.patch(f"{URL}{hook['id']}/", {"is_active": False}, format="json")
        remove(client, last)
        assert heard(lab) == [True]


class TestRaces:
    pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("postgresql")]

    @pytest.mark.parametrize("where", ["here", "below", "above", "above, of all below"])
    def test_one_made_while_the_last_goes_is_heard(self, pat, family, where):
        """Whatever came first: never is an account said to be unheard that somebody hears of."""
        child = Account.objects.create(name="Child", parent=family)
        grandchild = Account.objects.create(name="Grandchild", parent=child)
        to = {"here": child, "below": grandchild}.get(where, family)
        both = where == "above, of all below"
        now = clock.now()
        more = {"url": PUBLIC, "events": ["task.failed"], "by": pat, "now": now}
        for _ in range(6):
            old, _ = services.create_webhook(account=child, includes_children=True, **more)
            old.account = Account.objects.get(pk=child.pk)
            outcomes = race(
                partial(services.delete_webhook, webhook=old, by=pat, now=now),
                partial(services.create_webhook, account=to, includes_children=both, **more),
            )
            assert outcomes[0] is None
            (new,) = Webhook.objects.all()
            expected = [new.account_id == account.pk or both for account in (family, child, grandchild)]
            assert heard(family, child, grandchild) == expected
            services.delete_webhook(webhook=new, by=pat, now=now)
            assert heard(family, child, grandchild) == [False] * 3

    def test_what_moves_below_while_one_is_made_there_is_heard(self, pat, family):
        middle = Account.objects.create(name="Middle", parent=family)
        low = Account.objects.create(name="Low", parent=middle)
        now = clock.now()
        for n in range(6):
            moved = Account.objects.create(name=f"Moved {n}")
            Membership.objects.create(account=moved, user=pat, role=Role.OWNER)
            made_ = {"account": middle, "url": PUBLIC, "events": ["task.failed"], "includes_children": True}
            outcomes = race(
                partial(change_account, account=moved, changes={"parent": low}, by=pat),
                partial(services.create_webhook, **made_, by=pat, now=now),
            )
            assert not any(isinstance(one, Exception) for one in outcomes), outcomes
            assert heard(moved) == [True]
            services.delete_webhook(webhook=Webhook.objects.get(), by=pat, now=now)
