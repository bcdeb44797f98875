from __future__ import annotations

import pytest
from django.test import Client

from accounts import services
from accounts.choices import Role
from accounts.models import Account, Invitation, Membership
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def web(client):
    def as_user(user):
        client.force_login(user)
        return client

    return as_user


def url(account):
    return f"/accounts/{account.pk}/members/"


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def member(account, user):
    return Membership.objects.get(account=account, user=user)


def invite(email="new@example.test", role="MEMBER"):
    return {"do": "invite", "of": "", "email": email, "role": role}


class TestMembersPage:
    def test_it_lists_the_highest_first(self, web, people, form):
        page = web(people["viewer"]).get(url(form)).context["page"]
        assert [row.role for row in page] == ["OWNER", "MANAGER", "MEMBER", "VIEWER"]

    def test_an_outsider_finds_nothing(self, web, people, form):
        assert web(people["outsider"]).get(url(form)).status_code == 404
        assert web(people["outsider"]).post(url(form), invite()).status_code == 404

    def test_staff_without_the_permission_see_none(self, web, form, django_user_model):
        from django.contrib.auth.models import Permission

        clerk = make_user("clerk", is_staff=True)
        clerk.user_permissions.add(Permission.objects.get(codename="view_account"))
        assert web(clerk).get(url(form)).status_code == 403
        clerk.user_permissions.add(Permission.objects.get(codename="view_membership"))
        assert web(clerk).get(url(form)).status_code == 200

    @pytest.mark.parametrize(
        ("role", "offered"),
        [
            ("viewer", {"remove_member"}),
            ("member", {"remove_member"}),
            ("manager", {"remove_member", "invite"}),
            ("owner", {"remove_member", "invite", "change_role"}),
            ("school_manager", {"remove_member", "invite"}),
        ],
    )
    def test_it_offers_what_a_role_may_do(self, web, people, form, role, offered):
        shown = text(web(people[role]).get(url(form)))
        verbs = {"remove_member", "invite", "change_role", "withdraw"}
        assert {verb for verb in verbs if f'value="{verb}"' in shown} == offered

    def test_it_says_so_when_nobody_is_a_member(self, web, head, school):
        child = Account.objects.create(name="Empty", parent=school)
        shown = text(web(head).get(url(child)))
        assert "Nobody of its own" in shown
        assert 'value="invite"' in shown

    def test_it_wants_its_own_token(self, people, form):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(people["owner"])
        assert strict.post(url(form), invite()).status_code == 403

    def test_its_queries_do_not_grow(self, web, people, form, django_assert_max_num_queries):
        for number in range(30):
            Membership.objects.create(account=form, user=make_user(f"m{number}"))
            services.invite(
                account=form, email=f"i{number}@x.test", role=Role.VIEWER, by=people["owner"], now=clock.now()
            )
        browser = web(people["owner"])
        with django_assert_max_num_queries(12):
            shown = text(browser.get(url(form)))
        assert "Page 1 of 2" in shown
        assert "m0@example.test" in text(browser.get(url(form), {"page": 2})) or "m0@example.test" in shown


class TestInviting:
    def test_a_letter_goes_out(self, web, people, form):
        assert web(people["manager"]).post(url(form), invite()).status_code == 302
        assert Mail.objects.get().to == "new@example.test"
        assert "new@example.test" in text(web(people["viewer"]).get(url(form)))

    def test_a_manager_is_not_offered_owners_and_invites_none(self, web, people, form):
        browser = web(people["manager"])
        assert 'value="OWNER"' not in text(browser.get(url(form)))
        assert "role of an owner" in text(browser.post(url(form), invite(role="OWNER")), 403)
        assert not Mail.objects.exists()

    @pytest.mark.parametrize("role", ["viewer", "member"])
    def test_a_viewer_invites_nobody(self, web, people, form, role):
        text(web(people[role]).post(url(form), invite()), 403)

    def test_an_unconfirmed_address_is_told_to_confirm(self, web, lab, alice):
        assert "confirm your own address" in text(web(alice).get(url(lab)))
        assert "Confirm your address first" in text(web(alice).post(url(lab), invite()), 403)

    def test_a_member_is_not_invited_again(self, web, people, form):
        answer = web(people["owner"]).post(url(form), invite(people["viewer"].email))
        assert "already" in text(answer, 409)
        assert answer.context["invite"].errors["email"]

    @pytest.mark.parametrize("sent", [invite("x"), invite(""), invite(role="KING"), invite("a\x00@example.test")])
    def test_it_refuses_what_is_no_invitation(self, web, people, form, sent):
        text(web(people["owner"]).post(url(form), sent), 400)

    def test_too_many_are_told_to_wait(self, web, people, form):
        browser = web(people["owner"])
        for number in range(60):
            browser.post(url(form), invite(f"a{number}@example.test"))
        answer = browser.post(url(form), invite())
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0

    def test_it_is_withdrawn(self, web, people, form):
        browser = web(people["owner"])
        browser.post(url(form), invite())
        made = Invitation.objects.get()
        assert browser.post(url(form), {"do": "withdraw", "of": str(made.pk)}).status_code == 302
        assert "new@example.test" not in text(browser.get(url(form))).partition("</h1>")[2].partition("<h2>Open")[2]
        text(browser.post(url(form), {"do": "withdraw", "of": str(made.pk)}), 409)


class TestRoles:
    def test_an_owner_changes_one(self, web, people, form):
        row = member(form, people["viewer"])
        web(people["owner"]).post(url(form), {"do": "change_role", "of": str(row.pk), "role": "MANAGER"})
        row.refresh_from_db()
        assert row.role == "MANAGER"

    @pytest.mark.parametrize("role", ["viewer", "member", "manager"])
    def test_nobody_else_does(self, web, people, form, role):
        sent = {"do": "change_role", "of": str(member(form, people[role]).pk), "role": "OWNER"}
        text(web(people[role]).post(url(form), sent), 403)

    def test_an_owner_stays(self, web, lab, alice):
        browser, row = web(alice), member(lab, alice)
        sent = {"do": "change_role", "of": str(row.pk), "role": "VIEWER"}
        assert "would have no owner" in text(browser.post(url(lab), sent), 409)
        assert "would have no owner" in text(browser.post(url(lab), {"do": "remove_member", "of": str(row.pk)}), 409)

    def test_a_manager_removes_lesser_ones_alone(self, web, people, form):
        browser = web(people["manager"])
        text(browser.post(url(form), {"do": "remove_member", "of": str(member(form, people["owner"]).pk)}), 403)
        lesser = member(form, people["viewer"])
        assert browser.post(url(form), {"do": "remove_member", "of": str(lesser.pk)}).status_code == 302
        assert not Membership.objects.filter(pk=lesser.pk).exists()

    def test_a_member_leaves(self, web, people, form):
        row = member(form, people["member"])
        answer = web(people["member"]).post(url(form), {"do": "remove_member", "of": str(row.pk)})
        assert answer["Location"] == "/accounts/all/"
        assert web(people["member"]).get(url(form)).status_code == 404

    def test_a_member_of_another_account_is_out_of_reach(self, web, people, form, lab, bob):
        sent = {"do": "remove_member", "of": str(member(lab, bob).pk)}
        text(web(people["owner"]).post(url(form), sent), 404)

    def test_a_personal_account_keeps_its_person(self, web, alice):
        own = alice.personal_account
        row = member(own, alice)
        assert 'value="remove_member"' not in text(web(alice).get(url(own)))
        text(web(alice).post(url(own), {"do": "remove_member", "of": str(row.pk)}), 409)
