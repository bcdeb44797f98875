from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.choices import MAX_DEPTH, AccountKind, PaysFrom, Role
from accounts.models import Account, Membership

pytestmark = pytest.mark.django_db


class TestRole:
    def test_roles_go_by_rank_not_by_alphabet(self):
        assert Role.VIEWER < Role.MEMBER < Role.MANAGER < Role.OWNER
        assert Role.OWNER > "MEMBER"
        assert Role.MEMBER <= Role.MEMBER <= Role.OWNER
        assert Role.MEMBER.and_above == [Role.MEMBER, Role.MANAGER, Role.OWNER]

    def test_a_membership_gives_its_role(self, alice, bob, charlie, lab):
        assert lab.role_of(alice) == Role.OWNER
        assert lab.role_of(bob) == Role.MEMBER
        assert lab.role_of(charlie) is None
        assert lab.role_of(AnonymousUser()) is None

    def test_managing_an_account_gives_the_role_below_it(self, pat, charlie, family, child):
        assert child.role_of(pat) == Role.MANAGER
        assert family.role_of(charlie) is None

    def test_a_member_above_is_nobody_below(self, alice, family, child):
        Membership.objects.create(account=family, user=alice, role=Role.MEMBER)
        assert child.role_of(alice) is None

    def test_the_higher_of_two_counts(self, pat, child):
        Membership.objects.create(account=child, user=pat, role=Role.VIEWER)
        assert child.role_of(pat) == Role.MANAGER

    def test_one_user_is_in_an_account_once(self, alice, lab):
        with pytest.raises(IntegrityError), transaction.atomic():
            Membership.objects.create(account=lab, user=alice, role=Role.VIEWER)


class TestQuerySets:
    @pytest.fixture
    def people(self, alice, bob, charlie, pat, olga, dana):
        return [alice, bob, charlie, pat, olga]

    def test_they_agree_with_role_of(self, people, lab, family, child):
        Membership.objects.create(account=family, user=people[4], role=Role.MEMBER)
        grandchild = Account.objects.create(name="Grandchild", parent=child)
        Membership.objects.create(account=grandchild, user=people[1], role=Role.VIEWER)
        for user in people:
            roles = {account.pk: account.role_of(user) for account in Account.objects.all()}
            for queryset, least in (
                (Account.objects.visible_to(user), Role.VIEWER),
                (Account.objects.spendable_by(user), Role.MEMBER),
                (Account.objects.managed_by(user), Role.MANAGER),
            ):
                wanted = {pk for pk, role in roles.items() if role is not None and role >= least}
                got = [account.pk for account in queryset]
                assert len(got) == len(set(got))
                assert set(got) == wanted, (user, least)

    def test_nobody_sees_nothing(self, lab):
        assert not Account.objects.visible_to(AnonymousUser()).exists()
        assert not Account.objects.spendable_by(AnonymousUser()).exists()

    def test_the_permission_to_view_is_none_to_spend(self, dana, lab):
        assert lab in Account.objects.visible_to(dana)
        assert lab not in Account.objects.spendable_by(dana)

    def test_under_is_the_account_and_what_is_below(self, family, child, lab):
        assert set(Account.objects.under(family)) == {family, child}
        assert set(Account.objects.under(child)) == {child}


class TestTree:
    def test_the_path_leads_from_the_root(self, family, child):
        assert child.path == f"/{family.pk}/{child.pk}/"
        assert (family.depth, child.depth) == (1, 2)
        assert child.ancestor_ids == [family.pk]
        assert child.owner_key == f"acct:{child.pk}"

    def test_it_is_at_most_eight_deep(self, family):
        account = family
        for number in range(MAX_DEPTH - 1):
            account = Account.objects.create(name=str(number), parent=account)
        assert account.depth == MAX_DEPTH
        with pytest.raises(ValidationError):
            Account.objects.create(name="too deep", parent=account)

    def test_the_payer_is_the_nearest_that_pays_for_itself(self, family, child):
        grandchild = Account.objects.create(name="Grandchild", parent=child, pays_from=PaysFrom.PARENT)
        assert grandchild.payer() == child.payer() == family.payer() == family
        child.pays_from = PaysFrom.SELF
        child.save()
        grandchild.refresh_from_db()
        assert grandchild.payer() == child

    def test_a_root_cannot_pay_from_a_parent(self):
        with pytest.raises(IntegrityError), transaction.atomic():
            Account.objects.create(name="Root", pays_from=PaysFrom.PARENT)

    def test_a_personal_account_has_a_person(self):
        with pytest.raises(IntegrityError), transaction.atomic():
            Account.objects.create(name="Nobody", kind=AccountKind.PERSON)

    def test_there_is_one_platform(self):
        assert Account.platform() == Account.platform()
        with pytest.raises(IntegrityError), transaction.atomic():
            Account.objects.create(name="Another", kind=AccountKind.PLATFORM)
