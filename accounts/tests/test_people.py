"""Whom a letter about an account reaches, however far above it the next manager is."""

from __future__ import annotations

import pytest

from accounts.choices import Role
from accounts.models import Account
from accounts.services.people import people_around, people_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def named(people):
    """Name people by what the cast calls them."""
    names = {user.pk: name for name, user in people.items()}
    return lambda found: [names[user.pk] for user in found]


class TestPeopleOf:
    def test_they_are_those_of_the_account(self, named, form):
        assert sorted(named(people_of(form, Role.MANAGER))) == ["manager", "owner"]
        assert named(people_of(form, Role.OWNER)) == ["owner"]

    def test_where_it_has_none_they_are_of_the_nearest_above(self, named, form, school):
        group = Account.objects.create(name="Group", parent=Account.objects.create(name="Pair", parent=form))
        assert sorted(named(people_of(group, Role.MANAGER))) == ["manager", "owner"]
        form.memberships.all().delete()
        assert sorted(named(people_of(group, Role.MANAGER))) == ["school_manager", "school_owner"]

    def test_who_is_switched_off_is_none(self, named, people, form):
        people["owner"].is_active = False
        people["owner"].save()
        assert named(people_of(form, Role.OWNER)) == ["school_owner"]


class TestPeopleAround:
    def test_they_are_those_of_the_account_and_of_the_one_above(self, named, form):
        assert sorted(named(people_around(form))) == ["manager", "owner", "school_manager", "school_owner"]

    def test_a_root_has_nobody_above(self, named, form, school):
        assert sorted(named(people_around(school))) == ["school_manager", "school_owner"]

    def test_somebody_is_found_however_far_above(self, named, form, school):
        form.memberships.all().delete()
        group = Account.objects.create(name="Group", parent=form)
        assert sorted(named(people_around(group))) == ["school_manager", "school_owner"]
