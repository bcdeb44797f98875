"""A yes or no by mail: who is written to, what the link shows, and that it decides once."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.core import signing
from django.test import Client

from accounts import services as accounts
from accounts.choices import CapPeriod, PaysFrom, Role
from accounts.models import Membership, User
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import make_user
from tasks import services
from tasks.choices import StepKind, TaskStatus
from tasks.services import letters
from tasks.tests.rig import HOUR, a_task

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

PAGE = "/tasks/decide/"


@pytest.fixture
def reached(db):
    """Have everybody of the cast read the mail of their address."""

    def reach(*users):
        User.objects.filter(pk__in=[user.pk for user in users]).update(email_verified_at=clock.now())

    return reach


@pytest.fixture
def task(child, family, pat, charlie, root, reached):
    """Two hours of Child's, above the hour that Family's managers look at; Pat is one."""
    reached(pat, charlie)
    accounts.grant_hours(account=family, gpu_ms=100 * HOUR, by=root, reason="A year", key="k")
    accounts.set_threshold(account=child, asset="GPU", above=HOUR, by=pat)
    accounts.set_cap(account=child, asset="GPU", period=CapPeriod.MONTH, limit=9 * HOUR, by=pat, now=clock.now())
    return a_task(charlie, account=child, limit_ms=2 * HOUR, title="Fold <b>proteins</b>")


def ask():
    letters.ask_by_mail(now=clock.now())
    return sorted(Mail.objects.filter(key__startswith="step:").values_list("to", flat=True))


def link_to(user):
    """Give the token of the last letter to somebody."""
    body = Mail.objects.filter(to=user.email, key__startswith="step:").latest("pk").body
    url = re.search(r"\S+/tasks/decide/\S+", body)[0]
    return parse_qs(urlsplit(url).query)["token"][0]


def post(client, token, verdict="approve", reason=""):
    return client.post(PAGE, {"token": token, "verdict": verdict, "reason": reason})


def text_of(answer):
    return unescape(answer.content.decode())


class TestLetters:
    def test_the_managers_are_asked_first_and_once(self, task, pat):
        assert ask() == [pat.email]
        assert ask() == [pat.email]
        assert "Fold <b>proteins</b>" in Mail.objects.get(to=pat.email).body

    def test_staff_are_asked_when_their_turn_comes(self, task, pat, dana, reached):
        reached(dana)
        assert ask() == [pat.email]
        services.approve(task, by=pat, now=clock.now())
        assert ask() == sorted([pat.email, dana.email])

    def test_staff_are_left_alone_where_the_platform_says_so(self, task, pat, dana, reached, settings):
        settings.MAIL_STAFF_APPROVALS = False
        reached(dana)
        services.approve(task, by=pat, now=clock.now())
        assert ask() == []

    def test_an_address_that_is_not_confirmed_gets_none(self, task, pat):
        User.objects.filter(pk=pat.pk).update(email_verified_at=None)
        assert ask() == []

    def test_nobody_is_asked_about_a_task_of_their_own(self, child, pat, task):
        other = a_task(pat, account=child, limit_ms=2 * HOUR)
        ask()
        step = other.approval_steps.get(kind=StepKind.PARENT_MANAGER)
        assert not Mail.objects.filter(key=f"step:{step.pk}:{pat.pk}").exists()

    def test_who_manages_the_child_alone_is_not_asked(self, task, child, alice, reached, pat):
        reached(alice)
        Membership.objects.create(account=child, user=alice, role=Role.MANAGER)
        assert ask() == [pat.email]

    def test_the_nearest_managers_are_asked(self, task, family, child, alice, charlie, reached, pat):
        reached(alice)
        grandchild = accounts.create_child(parent=child, name="Grandchild", pays_from=PaysFrom.PARENT, by=pat)
        Membership.objects.create(account=grandchild, user=charlie, role=Role.MEMBER)
        Membership.objects.create(account=child, user=alice, role=Role.MANAGER)
        accounts.set_threshold(account=grandchild, asset="GPU", above=0, by=pat)
        a_task(charlie, account=grandchild, limit_ms=HOUR)
        assert ask() == sorted([alice.email, pat.email])  # of the grandchild's task, and of the child's

    def test_who_has_the_permission_by_a_group_is_staff_for_this(self, lab, alice, reached):
        approver = make_user("Abe", is_staff=True)
        approver.groups.add(Group.objects.get(name="Approvers"))
        gone = make_user("Gil", is_staff=True, is_active=False)
        gone.groups.add(Group.objects.get(name="Approvers"))
        reached(approver, gone, alice)
        a_task(alice, limit_ms=HOUR)
        assert ask() == [approver.email]


class TestPage:
    def test_it_shows_who_what_cost_and_what_is_left(self, client, task, pat):
        ask()
        text = text_of(client.get(PAGE, {"token": link_to(pat)}))
        for said in ("Charlie (charlie@example.test)", "Child", "2.000000 hours", "2.000000 h held"):
            assert said in text
        assert "Family has 98.000000 h left." in text
        assert "leaves 7.000000 h." in text
        assert "&lt;b&gt;proteins" in client.get(PAGE, {"token": link_to(pat)}).content.decode()

    @pytest.mark.parametrize("method", ["get", "head"])
    def test_a_mail_scanner_decides_nothing(self, client, task, pat, method):
        ask()
        for _ in range(3):
            assert getattr(client, method)(PAGE, {"token": link_to(pat), "verdict": "approve"}).status_code == 200
        task.refresh_from_db()
        assert task.approval_steps.filter(status="PENDING").count() == 2

    def test_a_yes_is_the_persons_own(self, client, task, pat):
        ask()
        assert post(client, link_to(pat), reason="Go on").status_code == 200
        step = task.approval_steps.get(kind=StepKind.PARENT_MANAGER)
        assert (step.status, step.decided_by, step.reason) == ("APPROVED", pat, f"Go on {letters.BY_MAIL}")
        assert AuditEvent.objects.get(action="task.approve").actor == pat

    def test_a_no_ends_the_task_with_its_reason(self, client, task, pat):
        ask()
        token = link_to(pat)
        refused = post(client, token, "reject", " ")
        assert refused.status_code == 400
        assert "Say why" in text_of(refused)
        assert post(client, token, "reject", "Too dear").status_code == 200
        task.refresh_from_db()
        assert task.status == TaskStatus.REJECTED

    def test_it_decides_once(self, client, task, pat):
        ask()
        token = link_to(pat)
        assert post(client, token).status_code == 200
        again = post(client, token, "reject", "On second thought")
        assert again.status_code == 409
        assert pat.email in text_of(again)
        task.refresh_from_db()
        assert task.status == TaskStatus.PENDING
        assert "This is decided" in text_of(client.get(PAGE, {"token": token}))

    def test_it_is_bound_to_its_step(self, client, task, child, charlie, pat):
        other = a_task(charlie, account=child, limit_ms=2 * HOUR)
        ask()
        step = task.approval_steps.get(kind=StepKind.PARENT_MANAGER)
        post(client, letters.letter_token(step, pat))
        assert other.approval_steps.filter(status="PENDING").count() == 2

    def test_it_wants_the_role_still(self, client, task, pat, family):
        ask()
        token = link_to(pat)
        Membership.objects.filter(account=family, user=pat).update(role=Role.MEMBER)
        assert post(client, token).status_code == 403
        assert task.approval_steps.filter(status="PENDING").count() == 2

    def test_another_sites_form_is_refused(self, task, pat):
        ask()
        assert post(Client(enforce_csrf_checks=True), link_to(pat)).status_code == 403

    def test_it_wants_one_of_two_buttons(self, client, task, pat):
        ask()
        for verdict in ("", "cancel"):
            assert post(client, link_to(pat), verdict).status_code == 400


class TestLink:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda token: "",
            lambda token: "x",
            lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
            lambda token: token + "\x00",
            lambda token: signing.dumps(["x"], salt=letters.SALT),
            lambda token: signing.dumps({"a": 1}, salt=letters.SALT),
            lambda token: signing.dumps([1, 2, 3], salt=letters.SALT),
            lambda token: signing.dumps(signing.loads(token, salt=letters.SALT), salt="other"),
            lambda token: "a" * 50_000,
        ],
        ids=["none", "short", "tampered", "nul", "too-few", "no-list", "no-ids", "other-salt", "long"],
    )
    def test_a_tampered_one_is_refused(self, client, task, pat, spoil):
        ask()
        token = spoil(link_to(pat))
        assert post(client, token).status_code == 400
        assert client.get(PAGE, {"token": token[:4000]}).status_code == 400
        assert task.approval_steps.filter(status="PENDING").count() == 2

    def test_one_for_another_person_is_not_made_of_it(self, client, task, pat, charlie):
        ask()
        step_pk, _, stamp = signing.loads(link_to(pat), salt=letters.SALT)
        forged = signing.dumps([step_pk, str(charlie.pk), stamp], salt=letters.SALT)
        assert post(client, forged).status_code == 400

    def test_an_old_one_is_refused(self, client, task, pat, settings):
        ask()
        token = link_to(pat)
        with time_machine.travel(clock.now() + timedelta(seconds=settings.APPROVAL_LINK_SECONDS + 5)):
            assert post(client, token).status_code == 400

    @pytest.mark.parametrize(
        "change",
        [{"is_active": False}, {"email": "new@example.test"}, {"password": "!"}, {"email_verified_at": None}],
        ids=["off", "address", "password", "unconfirmed"],
    )
    def test_it_ends_with_what_it_stands_on(self, client, task, pat, change):
        ask()
        token = link_to(pat)
        User.objects.filter(pk=pat.pk).update(**change)
        assert post(client, token).status_code == 400

    def test_staff_with_a_second_factor_log_in_too(self, client, task, pat, dana, reached, settings):
        reached(dana)
        services.approve(task, by=pat, now=clock.now())
        ask()
        token = link_to(dana)
        settings.STAFF_MFA = True
        for answer in (client.get(PAGE, {"token": token}), post(client, token)):
            assert answer.status_code == 302
            assert answer["Location"].startswith("/accounts/login/?next=")
        task.refresh_from_db()
        assert task.status == TaskStatus.PENDING

    def test_the_job_is_sent(self):
        from gaas.beat import jobs

        assert "tasks.ask_for_approvals" in {job.name for job in jobs()}
