"""The step that a parent's threshold puts before staff's."""

from __future__ import annotations

import pytest

from accounts import services as accounts
from accounts.choices import PaysFrom, Role
from accounts.models import Membership
from gaas.lib import clock
from gaas.lib.errors import Conflict, NotAllowed
from tasks import services
from tasks.choices import StepKind
from tasks.models import ApprovalStep
from tasks.tests.rig import HOUR, a_body, a_task

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/tasks/"
APPROVALS = "/api/v1/approvals/"


@pytest.fixture
def threshold(child, family, pat, root):
    """Above an hour a manager of Family, which stands above Child, approves first; Pat is one."""
    accounts.grant_hours(account=family, gpu_ms=100 * HOUR, by=root, reason="A year", key="k")
    return accounts.set_threshold(account=child, asset="GPU", above=HOUR, by=pat)


@pytest.fixture
def task(threshold, charlie, child):
    return a_task(charlie, account=child, limit_ms=2 * HOUR)


def kinds(task):
    return list(task.approval_steps.order_by("position").values_list("kind", "status"))


def code_of(answer):
    return answer.json()["errors"][0]["code"]


class TestSteps:
    def test_a_large_task_needs_a_manager_first(self, task):
        assert kinds(task) == [(StepKind.PARENT_MANAGER, "PENDING"), (StepKind.STAFF, "PENDING")]

    def test_a_small_one_does_not(self, threshold, charlie, child):
        assert kinds(a_task(charlie, account=child, limit_ms=HOUR)) == [(StepKind.STAFF, "PENDING")]

    def test_all_its_gpus_count(self, threshold, charlie, child):
        assert len(kinds(a_task(charlie, account=child, limit_ms=HOUR // 2, gpus=3))) == 2

    def test_money_has_a_threshold_of_its_own(self, threshold, child, pat, charlie):
        accounts.set_threshold(account=child, asset="USD", above=1, by=pat)
        assert len(kinds(a_task(charlie, account=child, limit_ms=HOUR))) == 1

    def test_each_parent_is_asked_the_nearest_first(self, threshold, child, charlie, pat):
        grandchild = accounts.create_child(parent=child, name="Grandchild", pays_from=PaysFrom.PARENT, by=pat)
        Membership.objects.create(account=grandchild, user=charlie, role=Role.MEMBER)
        accounts.set_threshold(account=grandchild, asset="GPU", above=0, by=pat)
        task = a_task(charlie, account=grandchild, limit_ms=2 * HOUR)
        steps = list(task.approval_steps.order_by("position").values_list("account__name", flat=True))
        assert steps == ["Child", "Family", None]

    def test_who_has_two_thresholds_is_asked_once(self, threshold, family, child, charlie, alice):
        Membership.objects.create(account=family, user=alice, role=Role.OWNER)
        accounts.set_threshold(account=family, asset="GPU", above=0, by=alice)
        task = a_task(charlie, account=child, limit_ms=2 * HOUR)
        steps = list(task.approval_steps.order_by("position").values_list("account__name", "why"))
        assert [name for name, _ in steps] == ["Family", None]
        assert "the account above Child" in steps[0][1]
        assert "Family" not in steps[0][1]

    def test_a_root_is_asked_itself(self, family, alice, pat, root):
        accounts.grant_hours(account=family, gpu_ms=9 * HOUR, by=root, reason="A year", key="k")
        Membership.objects.create(account=family, user=alice, role=Role.OWNER)
        accounts.set_threshold(account=family, asset="GPU", above=0, by=alice)
        step = a_task(alice, account=family, limit_ms=HOUR).approval_steps.get(kind=StepKind.PARENT_MANAGER)
        assert (step.account, step.is_for(pat)) == (family, True)
        assert "a manager of Family" in step.why

    def test_the_quote_tells_of_it(self, api, threshold, charlie, child):
        body = a_body(account=str(child.pk))
        approvals = api(charlie).post(f"{URL}quote/", body, format="json").json()["approvals"]
        assert [step["kind"] for step in approvals] == ["parent_manager", "staff"]
        assert "a manager of the account above Child" in approvals[0]["why"]


class TestDecide:
    def test_the_parent_then_staff(self, api, task, pat, dana):
        answer = api(pat).post(f"{URL}{task.pk}/approve/", {"reason": "Fine"}, format="json")
        assert (answer.status_code, answer.json()["status"]) == (200, "PENDING")
        answer = api(dana).post(f"{URL}{task.pk}/approve/", {}, format="json")
        assert answer.json()["status"] == "APPROVED"

    def test_staff_wait_for_the_parent(self, api, task, dana):
        answer = api(dana).post(f"{URL}{task.pk}/approve/", {}, format="json")
        assert (answer.status_code, code_of(answer)) == (409, "wrong_state")
        assert "manager of the account above Child" in answer.json()["errors"][0]["detail"]

    def test_the_parent_cannot_decide_for_staff(self, api, task, pat):
        client = api(pat)
        client.post(f"{URL}{task.pk}/approve/", {}, format="json")
        assert client.post(f"{URL}{task.pk}/approve/", {}, format="json").status_code == 403

    def test_a_parents_no_ends_it_and_gives_the_hold_back(self, api, task, pat, child):
        answer = api(pat).post(f"{URL}{task.pk}/reject/", {"reason": "Too long"}, format="json")
        assert (answer.status_code, answer.json()["status"]) == (200, "REJECTED")
        assert kinds(task) == [(StepKind.PARENT_MANAGER, "REJECTED"), (StepKind.STAFF, "VOID")]
        assert accounts.balances_of(child).hours_held == 0

    def test_fewer_hours_may_be_granted(self, api, task, pat, child):
        assert api(pat).post(f"{URL}{task.pk}/approve/", {"hours": "1"}, format="json").status_code == 200
        assert accounts.balances_of(child).hours_held == HOUR

    def test_a_priority_is_staffs_to_give(self, api, task, pat):
        assert api(pat).post(f"{URL}{task.pk}/approve/", {"priority": 5}, format="json").status_code == 403

    def test_a_member_does_not_decide(self, task, charlie, child, bob):
        Membership.objects.create(account=child, user=bob, role=Role.MEMBER)
        with pytest.raises(NotAllowed):
            services.approve(task, by=bob, now=clock.now())

    def test_nobody_decides_on_a_task_of_their_own(self, api, threshold, pat, child):
        task = a_task(pat, account=child, limit_ms=2 * HOUR)
        answer = api(pat).post(f"{URL}{task.pk}/approve/", {}, format="json")
        assert (answer.status_code, code_of(answer)) == (403, "own_task")

    @pytest.mark.parametrize("role", [Role.MANAGER, Role.OWNER])
    def test_who_manages_the_child_alone_does_not(self, api, task, child, bob, role):
        """Two of them could else let each other pass what the parent asked of them."""
        Membership.objects.create(account=child, user=bob, role=role)
        assert api(bob).get(APPROVALS).json()["results"] == []
        answer = api(bob).post(f"{URL}{task.pk}/approve/", {}, format="json")
        assert (answer.status_code, code_of(answer)) == (403, "permission_denied")
        assert "Family" not in answer.content.decode()
        assert kinds(task) == [(StepKind.PARENT_MANAGER, "PENDING"), (StepKind.STAFF, "PENDING")]

    def test_somebody_who_was_a_manager_does_not(self, task, family, pat):
        family.memberships.filter(user=pat).delete()
        with pytest.raises(NotAllowed):
            services.approve(task, by=pat, now=clock.now())

    def test_decided_before_is_told(self, task, family, bob, pat, dana):
        Membership.objects.create(account=family, user=bob, role=Role.MANAGER)
        services.approve(task, by=bob, now=clock.now())
        services.approve(task, by=dana, now=clock.now())
        with pytest.raises(Conflict):
            services.approve(task, by=pat, now=clock.now())


class TestLists:
    def test_each_sees_what_waits_for_them(self, api, task, pat, dana, charlie, root):
        def waiting(user):
            return [row["kind"] for row in api(user).get(APPROVALS).json()["results"]]

        assert (waiting(pat), waiting(dana), waiting(charlie)) == (["parent_manager"], [], [])
        assert waiting(root) == ["parent_manager"]
        services.approve(task, by=pat, now=clock.now())
        assert (waiting(pat), waiting(dana)) == ([], ["staff"])

    def test_an_own_task_is_not_listed(self, api, threshold, pat, child):
        a_task(pat, account=child, limit_ms=2 * HOUR)
        assert api(pat).get(APPROVALS).json()["results"] == []

    def test_by_id_too(self, api, task, pat):
        step = ApprovalStep.objects.get(task=task, position=0)
        assert api(pat).post(f"{APPROVALS}{step.pk}/approve/", {}, format="json").status_code == 200

    def test_managers_see_the_tasks_below(self, api, task, pat, bob):
        assert [row["id"] for row in api(pat).get(URL).json()["results"]] == [str(task.pk)]
        assert api(bob).get(f"{URL}{task.pk}/").status_code == 404


class TestNamedStep:
    def test_a_second_click_decides_no_other_step(self, api, task, root):
        parents, staff = task.approval_steps.order_by("position")
        client = api(root)
        url = f"{APPROVALS}{parents.pk}/approve/"
        assert client.post(url, {}, format="json").json()["status"] == "PENDING"

        again = client.post(url, {}, format="json")
        assert (again.status_code, code_of(again)) == (409, "wrong_state")
        assert root.email in again.json()["errors"][0]["detail"]
        assert kinds(task) == [(StepKind.PARENT_MANAGER, "APPROVED"), (StepKind.STAFF, "PENDING")]
        assert client.post(f"{APPROVALS}{staff.pk}/approve/", {}, format="json").json()["status"] == "APPROVED"

    def test_a_step_before_its_turn_waits(self, api, task, root):
        staff = task.approval_steps.order_by("position").last()
        answer = api(root).post(f"{APPROVALS}{staff.pk}/approve/", {}, format="json")
        assert (answer.status_code, code_of(answer)) == (409, "wrong_state")
        assert kinds(task) == [(StepKind.PARENT_MANAGER, "PENDING"), (StepKind.STAFF, "PENDING")]
