"""Staff who put accounts right for others get nothing by it themselves."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from accounts import services
from accounts.choices import Role
from accounts.models import Membership
from gaas.lib import clock
from gaas.lib.errors import NotAllowed
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def clerk():
    user = make_user("sue", is_staff=True, email_verified_at=clock.now())
    user.groups.add(Group.objects.get(name="Support"))
    return user


class TestClerk:
    def test_they_make_others_members_and_not_themselves(self, clerk, lab, charlie):
        services.add_member(account=lab, user=charlie, role=Role.OWNER, by=clerk)
        with pytest.raises(NotAllowed):
            services.add_member(account=lab, user=clerk, role=Role.MEMBER, by=clerk)
        assert lab.role_of(clerk) is None

    def test_they_invite_others_and_not_themselves(self, clerk, lab):
        services.invite(account=lab, email="new@example.test", role=Role.OWNER, by=clerk, now=clock.now())
        for email in (clerk.email, clerk.email.upper()):
            with pytest.raises(NotAllowed):
                services.invite(account=lab, email=email, role=Role.VIEWER, by=clerk, now=clock.now())

    def test_they_raise_others_and_not_themselves(self, clerk, lab, bob):
        own = Membership.objects.create(account=lab, user=clerk, role=Role.MANAGER)
        services.change_role(membership=lab.memberships.get(user=bob), role=Role.OWNER, by=clerk)
        with pytest.raises(NotAllowed):
            services.change_role(membership=own, role=Role.OWNER, by=clerk)
        assert lab.role_of(clerk) == Role.MANAGER
        services.change_role(membership=own, role=Role.VIEWER, by=clerk)

    def test_they_move_accounts_and_not_below_their_own(self, clerk, lab, family):
        trap = services.create_account(name="Mine", by=clerk)
        with pytest.raises(NotAllowed):
            services.move_account(account=lab, parent=trap, by=clerk)
        services.move_account(account=lab, parent=family, by=clerk)
        assert lab.__class__.objects.get(pk=lab.pk).role_of(clerk) is None
