"""One identity elsewhere, connected by many here at once."""

from __future__ import annotations

from functools import partial

import pytest
from allauth.socialaccount.models import SocialAccount

from accounts.ledger.tests.conftest import race
from accounts.services import connections, openid
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import make_user

IDENTITY = openid.Identity("1001", "a@gmail.test", True, "A", 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_of_eight_parallel_ones_one_has_it_and_the_others_are_told():
    now = clock.now()
    people = [make_user(f"person{n}", email_verified_at=now) for n in range(8)]
    outcomes = race(*(partial(connections.connect, user=one, identity=IDENTITY, now=now) for one in people))
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, connections.AlreadyConnected) for one in outcomes) == 7
    winner = SocialAccount.objects.get(uid="1001").user
    assert Mail.objects.get().to == winner.email


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_a_person_who_sends_it_twice_at_once_is_told_nothing_bad():
    now = clock.now()
    person = make_user("person", email_verified_at=now)
    outcomes = race(*[partial(connections.connect, user=person, identity=IDENTITY, now=now)] * 8)
    assert outcomes == [None] * 8
    assert SocialAccount.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
def test_of_two_parallel_cuts_of_the_last_two_ways_in_one_is_refused():
    now = clock.now()
    for turn in range(5):
        person = make_user(f"person{turn}", email_verified_at=now)
        person.set_unusable_password()
        person.save(update_fields=["password"])
        ways = [SocialAccount.objects.create(user=person, provider="google", uid=f"{turn}-{n}") for n in range(2)]
        cuts = [partial(connections.disconnect, user=person, pk=str(way.pk), now=now) for way in ways]
        outcomes = race(*cuts)
        assert outcomes.count(None) == 1
        assert sum(isinstance(one, connections.OnlyWayIn) for one in outcomes) == 1
        assert SocialAccount.objects.filter(user=person).count() == 1
