from __future__ import annotations

from functools import partial

import pytest

from accounts import services
from accounts.choices import MAX_DEPTH, PaysFrom, Role
from accounts.ledger import services as ledger
from accounts.ledger.tests.conftest import race
from accounts.models import Account, ApprovalThreshold, CapRule, Membership
from accounts.services.organisations import OpenHolds
from accounts.tests.conftest import HOUR
from accounts.tests.test_members import token_for
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.tests.cast import make_user


@pytest.fixture
def url(form):
    return f"/api/v1/accounts/{form.pk}/"


def code_of(answer):
    return answer.json()["errors"][0]["code"]


@pytest.fixture
def owner(people):
    return people["school_owner"]


@pytest.mark.django_db
class TestPatch:
    def test_a_name(self, api, head, url):
        assert api(head).patch(url, {"name": "Form 1"}, format="json").json()["name"] == "Form 1"
        event = AuditEvent.objects.get(action="account.rename")
        assert (event.before, event.after) == ({"name": "Form"}, {"name": "Form 1"})

    def test_who_pays(self, api, head, url, form, school):
        answer = api(head).patch(url, {"pays_from": "PARENT"}, format="json")
        assert (answer.status_code, answer.json()["hours_available"]) == (200, "100.000000")
        form.refresh_from_db()
        assert form.payer() == school

    def test_a_root_pays_for_itself(self, api, owner, school):
        answer = api(owner).patch(f"/api/v1/accounts/{school.pk}/", {"pays_from": "PARENT"}, format="json")
        assert answer.status_code == 409

    def test_all_or_nothing(self, api, people, url, form):
        answer = api(people["manager"]).patch(url, {"name": "Mine", "pays_from": "PARENT"}, format="json")
        assert answer.status_code == 403
        form.refresh_from_db()
        assert form.name == "Form"

    @pytest.mark.parametrize(
        "body",
        [
            {"kind": "PERSON"},
            {"path": "/"},
            {"owner": "x"},
            {"status": "x"},
            {"balance": 1},
            {"closed_at": None},
            {"pays_from": "NOBODY"},
            {"parent": "x"},
            {"name": None},
        ],
    )
    def test_bad_bodies_are_refused_by_name(self, api, owner, url, body):
        answer = api(owner).patch(url, body, format="json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == next(iter(body))


@pytest.mark.django_db
class TestMove:
    def test_a_child_becomes_a_root(self, api, owner, people, url, form):
        grandchild = Account.objects.create(name="Group", parent=form, pays_from=PaysFrom.PARENT)
        answer = api(owner).patch(url, {"parent": None}, format="json")
        assert (answer.status_code, answer.json()["parent"], answer.json()["pays_from"]) == (200, None, "SELF")
        form.refresh_from_db()
        grandchild.refresh_from_db()
        assert (form.path, grandchild.path) == (f"/{form.pk}/", f"/{form.pk}/{grandchild.pk}/")
        assert form.role_of(people["school_manager"]) is None
        assert grandchild.role_of(people["owner"]) == Role.OWNER

    def test_under_another_parent(self, owner, school, form, people):
        other = Account.objects.create(name="Other", parent=school)
        moved = services.move_account(account=form, parent=other, by=owner)
        assert moved.path == f"/{school.pk}/{other.pk}/{form.pk}/"

    def test_what_the_old_parent_asked_ends(self, owner, school, form):
        services.set_cap(account=form, asset="GPU", period="month", limit=HOUR, by=owner, now=clock.now())
        services.set_threshold(account=form, asset="GPU", above=HOUR, by=owner)
        services.move_account(account=form, parent=None, by=owner)
        assert not CapRule.objects.exists()
        assert not ApprovalThreshold.objects.exists()

    def test_case_54_a_cycle_is_refused(self, api, owner, school, form, url):
        grandchild = Account.objects.create(name="Group", parent=form)
        for parent in (form, grandchild):
            answer = api(owner).patch(url, {"parent": str(parent.pk)}, format="json")
            assert (answer.status_code, code_of(answer)) == (400, "cycle")
        answer = api(owner).patch(f"/api/v1/accounts/{school.pk}/", {"parent": str(grandchild.pk)}, format="json")
        assert (answer.status_code, code_of(answer)) == (400, "cycle")

    def test_case_54_a_chain_beyond_eight_is_refused(self, api, owner, school, form, url):
        Account.objects.create(name="Group", parent=form)
        account = school
        for number in range(MAX_DEPTH - 2):
            account = Account.objects.create(name=str(number), parent=account)
        answer = api(owner).patch(url, {"parent": str(account.pk)}, format="json")
        assert (answer.status_code, code_of(answer)) == (400, "too_deep")
        assert api(owner).patch(url, {"parent": str(account.parent_id)}, format="json").status_code == 200

    def test_who_pays_is_for_who_manages_where_it_stands_now(self, owner, school, form, head):
        stale = Account.objects.select_related("parent").get(pk=form.pk)
        services.move_account(account=form, parent=None, by=owner)
        other = services.create_account(name="Other", by=owner)
        Membership.objects.create(account=form, user=owner, role=Role.OWNER)
        services.move_account(account=Account.objects.get(pk=form.pk), parent=other, by=owner)
        with pytest.raises(services.AccountMoved):
            services.set_pays_from(account=stale, pays_from=PaysFrom.PARENT, by=head)

    def test_case_54_with_open_holds_it_stays(self, api, owner, school, form, url):
        held = ledger.hold(
            balance=services.hours_balance(school), amount=HOUR, key="h", purpose="task", spender=form.owner_key
        )
        for parent in (None, str(Account.objects.create(name="Other", parent=school).pk)):
            answer = api(owner).patch(url, {"parent": parent}, format="json")
            assert (answer.status_code, code_of(answer)) == (409, "open_holds")
        ledger.release(hold_id=held.pk)
        assert api(owner).patch(url, {"parent": None}, format="json").status_code == 200

    def test_a_hold_further_below_keeps_it_too(self, owner, school, form):
        grandchild = Account.objects.create(name="Group", parent=form)
        ledger.hold(
            balance=services.hours_balance(school), amount=1, key="h", purpose="task", spender=grandchild.owner_key
        )
        with pytest.raises(OpenHolds):
            services.move_account(account=form, parent=None, by=owner)

    def test_without_an_owner_of_its_own_it_stays(self, api, owner, form, url):
        form.memberships.filter(role=Role.OWNER).delete()
        answer = api(owner).patch(url, {"parent": None}, format="json")
        assert (answer.status_code, code_of(answer)) == (409, "no_owner")

    def test_it_needs_the_management_of_where_it_goes(self, api, people, lab, url):
        assert api(people["owner"]).patch(url, {"parent": str(lab.pk)}, format="json").status_code == 404
        Membership.objects.create(account=lab, user=people["owner"], role=Role.MEMBER)
        assert api(people["owner"]).patch(url, {"parent": str(lab.pk)}, format="json").status_code == 403
        lab.memberships.filter(user=people["owner"]).update(role=Role.MANAGER)
        assert api(people["owner"]).patch(url, {"parent": str(lab.pk)}, format="json").status_code == 200


@pytest.mark.django_db
class TestClose:
    def test_hours_go_to_the_parent(self, api, owner, school, form, url, sound_books):
        services.fund(account=school, to=form, asset="GPU", amount=5 * HOUR, by=owner, key="k")
        answer = api(owner).post(f"{url}close/", {"reason": "The year is over"}, format="json")
        assert answer.status_code == 200
        assert answer.json()["closed_at"]
        assert services.balances_of(school).hours_available == 100 * HOUR
        assert AuditEvent.objects.get(action="account.close").reason == "The year is over"

    def test_a_root_lets_its_hours_expire(self, alice, lab, root, sound_books):
        services.grant_hours(account=lab, gpu_ms=HOUR, by=root, reason="x", key="k")
        services.close_account(account=lab, by=alice, now=clock.now())
        assert ledger.platform_balance(asset="GPU", kind="expired").total() == HOUR

    def test_money_children_and_holds_come_first(self, api, owner, school, form, url):
        client = api(owner)
        top = f"/api/v1/accounts/{school.pk}/close/"
        assert code_of(client.post(top, {}, format="json")) == "not_empty"
        services.close_account(account=form, by=owner, now=clock.now())
        assert code_of(client.post(top, {}, format="json")) == "not_empty"
        ledger.hold(balance=services.hours_balance(school), amount=1, key="h", purpose="task")
        assert code_of(client.post(top, {}, format="json")) == "open_holds"

    def test_a_closed_account_takes_part_in_nothing(self, api, owner, root, form, url, head):
        client = api(owner)
        client.post(f"{url}close/", {}, format="json")
        for path, body in (
            ("close/", {}),
            ("children/", {"name": "x"}),
            ("members/", {"email": "x@example.test"}),
            ("caps/", {"period": "day", "hours": "1"}),
            ("thresholds/", {"hours": "1"}),
        ):
            answer = client.post(f"{url}{path}", body, format="json")
            assert (answer.status_code, code_of(answer)) == (409, "account_closed"), path
        with pytest.raises(ledger.BalanceFrozen):
            services.grant_hours(account=form, gpu_ms=1, by=root, reason="x", key="late")
        assert client.get(url).status_code == 200

    def test_a_personal_account_stays_open(self, api, alice):
        url = f"/api/v1/accounts/{alice.personal_account.pk}/close/"
        assert api(alice).post(url, {}, format="json").status_code == 403


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
class TestRaces:
    def test_two_moves_cannot_make_a_cycle(self, school):
        user = make_user("both")
        Membership.objects.create(account=school, user=user, role=Role.OWNER)
        for turn in range(10):
            a, b = (Account.objects.create(name=f"{name}{turn}", parent=school) for name in "ab")
            outcomes = race(
                partial(services.move_account, account=a, parent=b, by=user),
                partial(services.move_account, account=b, parent=a, by=user),
            )
            assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1, outcomes
            stored = {row.pk: row for row in Account.objects.all()}
            for row in stored.values():
                assert row.path == (stored[row.parent_id].path if row.parent_id else "/") + f"{row.pk}/"

    def test_two_owners_who_remove_each_other_leave_one(self, lab, alice, bob):
        for _ in range(10):
            Membership.objects.filter(account=lab).delete()
            first, second = (
                Membership.objects.create(account=lab, user=user, role=Role.OWNER) for user in (alice, bob)
            )
            race(
                partial(services.remove_member, membership=second, by=alice),
                partial(services.remove_member, membership=first, by=bob),
            )
            assert lab.memberships.filter(role=Role.OWNER).count() == 1

    def test_eight_accept_one_letter_once(self, lab, alice, charlie, verify):
        verify(alice)
        verify(charlie)
        services.invite(account=lab, email=charlie.email, role=Role.MEMBER, by=alice, now=clock.now())
        calls = [partial(services.accept_invitation, token=token_for(), by=charlie, now=clock.now())] * 8
        outcomes = race(*calls)
        assert sum(isinstance(outcome, Membership) for outcome in outcomes) == 1
        assert lab.memberships.filter(user=charlie).count() == 1
