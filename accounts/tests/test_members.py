from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission

from accounts import services
from accounts.choices import Role
from accounts.models import Account, Invitation, Membership
from accounts.services.members import INVITATION_AGE
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db

ACCEPT = "/api/v1/invitations/accept/"


@pytest.fixture
def url(lab):
    return f"/api/v1/accounts/{lab.pk}/"


@pytest.fixture
def owner(alice, verify):
    return verify(alice)


@pytest.fixture
def invite(api, owner, url):
    def send(email="charlie@example.test", role="MEMBER", by=owner):
        return api(by).post(f"{url}members/", {"email": email, "role": role}, format="json")

    return send


def token_for(email="charlie@example.test"):
    body = Mail.objects.filter(to=email, key__startswith="invitation:").latest("pk").body
    return re.search(r"token=(\S+)", body).group(1)


def code_of(answer):
    return answer.json()["errors"][0]["code"]


class TestInvite:
    def test_a_letter_makes_a_member(self, api, invite, charlie, verify, lab, url):
        answer = invite(role="MANAGER")
        assert answer.status_code == 201
        assert "token" not in str(answer.json())
        taken = api(verify(charlie)).post(ACCEPT, {"token": token_for()}, format="json")
        assert (taken.status_code, taken.json()["role"], taken.json()["account"]) == (200, "MANAGER", str(lab.pk))
        assert lab.role_of(charlie) == Role.MANAGER

    def test_the_token_is_stored_as_a_hash_alone(self, invite):
        invite()
        made = Invitation.objects.get()
        assert token_for() not in {str(value) for value in vars(made).values()}

    def test_the_answer_is_the_same_for_an_unknown_address(self, invite, charlie):
        known, unknown = invite().json(), invite(email="nobody@example.test").json()
        assert set(known) == set(unknown)
        assert {key: known[key] for key in ("role", "account")} == {key: unknown[key] for key in ("role", "account")}

    def test_inviting_again_ends_the_letter_before(self, api, invite, charlie, verify):
        invite()
        first = token_for()
        invite()
        client = api(verify(charlie))
        assert code_of(client.post(ACCEPT, {"token": first}, format="json")) == "invalid_invitation"
        assert client.post(ACCEPT, {"token": token_for()}, format="json").status_code == 200

    def test_mixed_case_and_wide_letters_are_one_address(self, invite):
        invite(email="CHARLIE@example.test")
        assert Invitation.objects.get().email == "charlie@example.test"

    @pytest.mark.parametrize("email", ["", "x", "a@b", "a b@example.test", "a@example.test\nBcc: b@example.test", 1])
    def test_what_is_no_address_is_refused(self, invite, email):
        assert invite(email=email).status_code == 400
        assert not Invitation.objects.exists()

    def test_a_member_is_not_invited_again(self, invite, bob):
        answer = invite(email=bob.email)
        assert (answer.status_code, code_of(answer)) == (409, "already_member")

    def test_it_takes_a_verified_address(self, api, alice, url):
        answer = api(alice).post(f"{url}members/", {"email": "x@example.test"}, format="json")
        assert (answer.status_code, code_of(answer)) == (403, "email_not_verified")

    def test_a_member_cannot_invite_an_owner(self, invite, bob, verify):
        assert invite(role="OWNER", by=verify(bob)).status_code == 403

    def test_those_that_stand_are_listed_and_can_be_withdrawn(self, api, invite, owner, url, charlie, verify):
        id_ = invite().json()["id"]
        client = api(owner)
        assert [row["id"] for row in client.get(f"{url}invitations/").json()["results"]] == [id_]
        assert client.delete(f"{url}invitations/{id_}/").status_code == 204
        assert client.delete(f"{url}invitations/{id_}/").status_code == 409
        assert client.get(f"{url}invitations/").json()["results"] == []
        assert api(verify(charlie)).post(ACCEPT, {"token": token_for()}, format="json").status_code == 400

    def test_each_is_told_in_the_audit_trail(self, api, invite, charlie, verify):
        invite()
        api(verify(charlie)).post(ACCEPT, {"token": token_for()}, format="json")
        assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"invitation.create", "invitation.accept"}


class TestAccept:
    @pytest.fixture
    def token(self, invite):
        invite()
        return token_for()

    def accept(self, client, token):
        return client.post(ACCEPT, {"token": token}, format="json")

    def test_another_address_is_refused(self, api, token, bob, olga, verify):
        answer = self.accept(api(verify(olga)), token)
        assert (answer.status_code, code_of(answer)) == (403, "invitation_for_another")

    def test_an_unverified_address_is_refused(self, api, token, charlie):
        answer = self.accept(api(charlie), token)
        assert (answer.status_code, code_of(answer)) == (403, "email_not_verified")

    def test_it_works_once(self, api, token, charlie, verify):
        client = api(verify(charlie))
        assert self.accept(client, token).status_code == 200
        Membership.objects.filter(user=charlie).exclude(account__person=charlie).delete()
        assert code_of(self.accept(client, token)) == "invalid_invitation"

    def test_it_runs_out(self, token, charlie, verify):
        with pytest.raises(services.BadInvitation):
            services.accept_invitation(token=token, by=verify(charlie), now=clock.now() + INVITATION_AGE)
        late = clock.now() + INVITATION_AGE - timedelta(minutes=1)
        assert services.accept_invitation(token=token, by=charlie, now=late).role == Role.MEMBER

    def test_a_token_invites_its_address_alone(self, token):
        for email, wanted in (("charlie@example.test", True), ("olga@example.test", False)):
            assert Invitation.objects.of_letter(token, now=clock.now()).filter(email=email).exists() is wanted
        late = clock.now() + INVITATION_AGE
        assert not Invitation.objects.of_letter(token, now=late).exists()

    @pytest.mark.parametrize("bad", ["", "x", "é" * 50, "x" * 500])
    def test_garbage_is_refused(self, api, charlie, verify, bad):
        assert self.accept(api(verify(charlie)), bad).status_code == 400

    def test_a_writer_who_may_not_invite_any_more_invites_nobody(self, api, token, owner, bob, lab, charlie, verify):
        Membership.objects.filter(account=lab, user=bob).update(role=Role.OWNER)
        services.change_role(membership=lab.memberships.get(user=owner), role=Role.MEMBER, by=bob)
        assert code_of(self.accept(api(verify(charlie)), token)) == "invalid_invitation"

    def test_a_closed_account_takes_nobody(self, api, token, owner, lab, charlie, verify):
        services.close_account(account=lab, by=owner, now=clock.now())
        assert self.accept(api(verify(charlie)), token).status_code in (400, 409)

    def test_it_wants_a_caller(self, api, token):
        assert self.accept(api(), token).status_code == 401


class TestRoles:
    def test_an_owner_changes_them(self, api, alice, bob, lab, url):
        member = lab.memberships.get(user=bob)
        answer = api(alice).patch(f"{url}members/{member.pk}/", {"role": "MANAGER"}, format="json")
        assert (answer.status_code, answer.json()["role"]) == (200, "MANAGER")
        event = AuditEvent.objects.get(action="member.change_role")
        assert (event.before["role"], event.after["role"]) == ("MEMBER", "MANAGER")

    def test_the_last_owner_stays_one(self, api, alice, lab, url):
        own = lab.memberships.get(user=alice)
        client = api(alice)
        for answer in (
            client.patch(f"{url}members/{own.pk}/", {"role": "MEMBER"}, format="json"),
            client.delete(f"{url}members/{own.pk}/"),
        ):
            assert (answer.status_code, code_of(answer)) == (409, "no_owner")
        assert lab.role_of(alice) == Role.OWNER

    def test_one_of_two_owners_may_go(self, api, alice, bob, lab, url):
        lab.memberships.filter(user=bob).update(role=Role.OWNER)
        assert api(alice).delete(f"{url}members/{lab.memberships.get(user=alice).pk}/").status_code == 204
        assert lab.role_of(alice) is None

    def test_below_an_owned_account_none_is_needed(self, alice, bob, lab):
        child = Account.objects.create(name="Child", parent=lab)
        own = Membership.objects.create(account=child, user=bob, role=Role.OWNER)
        services.remove_member(membership=own, by=bob)
        assert not child.memberships.exists()

    def test_a_person_owns_the_personal_account_always(self, api, alice):
        own = alice.personal_account.memberships.get()
        answer = api(alice).delete(f"/api/v1/accounts/{alice.personal_account.pk}/members/{own.pk}/")
        assert answer.status_code == 409

    def test_anybody_may_leave(self, api, bob, lab, url):
        assert api(bob).delete(f"{url}members/{lab.memberships.get(user=bob).pk}/").status_code == 204
        assert api(bob).get(url).status_code == 404

    @pytest.mark.parametrize("role", ["EMPEROR", "", None, 1])
    def test_a_role_that_is_none_is_refused(self, api, alice, bob, lab, url, role):
        member = lab.memberships.get(user=bob)
        assert api(alice).patch(f"{url}members/{member.pk}/", {"role": role}, format="json").status_code == 400

    def test_a_member_of_another_account_is_not_there(self, api, alice, charlie, url):
        foreign = charlie.personal_account.memberships.get()
        client = api(alice)
        assert client.patch(f"{url}members/{foreign.pk}/", {"role": "OWNER"}, format="json").status_code == 404
        assert client.delete(f"{url}members/{foreign.pk}/").status_code == 404

    def test_the_list_costs_the_same_for_many(self, api, alice, lab, url, django_assert_max_num_queries):
        for number in range(10):
            Membership.objects.create(account=lab, user=make_user(f"m{number}"), role=Role.MEMBER)
        client = api(alice)
        with django_assert_max_num_queries(8):
            assert len(client.get(f"{url}members/").json()["results"]) == 12

    def test_staff_see_members_by_permission_alone(self, api, dana, charlie, url):
        assert api(dana).get(f"{url}members/").status_code == 200
        charlie.user_permissions.set([Permission.objects.get(codename="view_account")])
        assert api(charlie).get(url).status_code == 200
        assert api(charlie).get(f"{url}members/").status_code == 403
