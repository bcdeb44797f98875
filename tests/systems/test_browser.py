"""Staff at work in the admin, in a real browser, on a platform that runs: what they press happens, and is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from tests.systems.browser import HOSTILE, Visitor
from tests.systems.house import ADMIN, ROOT, Up
from tests.systems.people import Person, at_its_end, newcomer

SCRIPT = """
echo 'step one'; sleep 2; echo '{hostile}'
printf '{{"answer": 42, "note": "%s"}}' '{note}' > "$GAAS_OUTPUT/result.json"
""".format(hostile=HOSTILE, note=HOSTILE.replace('"', "'").replace("'", ""))

numbers = count(1)


@pytest.fixture
def alice(browsed: Up) -> Person:
    """Somebody new with the hours of a welcome."""
    return newcomer(browsed.url, f"alice{next(numbers)}")


def hours(person: Person) -> tuple[str, str]:
    account = person.account()
    return account["hours_available"], account["hours_held"]


def task_page(task: dict[str, str]) -> str:
    return f"/admin/tasks/task/{task['id']}/change/"


class TestApproval:
    def test_a_task_approved_from_the_list_runs_and_is_charged(self, admin: Visitor, alice: Person) -> None:
        task = alice.submit(SCRIPT, title=f"Listed {alice.email}")
        assert hours(alice) == ("8.000000", "2.000000")

        admin.press("a:has-text('Waiting for approval')")
        assert "1 approved" in admin.select("Approve", task["title"])

        ended = at_its_end(alice, task["id"])
        assert ended["status"] == "COMPLETED"
        assert ended["gpu_ms"] >= 2000
        available, held = hours(alice)
        assert held == "0.000000"
        # Shown rounded down, both: what is missing from ten hours is what was metered.
        assert abs(Decimal(10) - Decimal(available) - Decimal(ended["hours_charged"])) <= Decimal("0.000001")

        admin.open(task_page(task))
        seen = admin.text()
        assert "Completed" in seen
        assert "step one" in seen
        assert '"answer": 42' in seen
        assert ended["hours_charged"] in seen
        assert ADMIN in seen

    def test_the_button_of_a_page_asks_and_approves_fewer_hours(self, admin: Visitor, alice: Person) -> None:
        task = alice.submit("echo quick", title="Buttoned")
        admin.open(task_page(task))
        assert "1 approved" in admin.verb("Approve", hours="0.5", reason="Half is enough.")
        ended = at_its_end(alice, task["id"])
        assert (ended["status"], ended["hours"]) == ("COMPLETED", "0.500000")

    def test_a_rejection_needs_a_reason_and_gives_the_hours_back(self, admin: Visitor, alice: Person) -> None:
        task = alice.submit("echo no", title="Unwanted")
        admin.open(task_page(task))
        assert "This field is required" in admin.verb("Reject")
        assert "1 rejected" in admin.send("Reject", reason="Not on these machines.")
        assert hours(alice) == ("10.000000", "0.000000")
        told = alice.task(task["id"])
        assert told["status"] == "REJECTED"
        assert "Not on these machines." in str(told) + str(alice.call("GET", f"tasks/{task['id']}/events/"))

    def test_several_are_rejected_with_one_reason(self, admin: Visitor, alice: Person) -> None:
        tasks = [alice.submit("echo no", title=f"Batch {n} {alice.email}", hours="1") for n in (1, 2)]
        admin.open("/admin/tasks/task/")
        assert "Reject: 2 tasks" in admin.select("Reject", *(task["title"] for task in tasks))
        assert "2 rejected" in admin.send("Reject", reason="Both too early.")
        assert hours(alice) == ("10.000000", "0.000000")

    def test_a_stale_page_is_told_who_decided(self, admin: Visitor, alice: Person, browsed: Up) -> None:
        task = alice.submit("echo once", title="Decided elsewhere")
        admin.open(task_page(task))
        admin.press("#header-inner li a:has-text('Approve')")
        browsed.admin().approve(task["id"])
        told = admin.send("Approve")
        assert "1 skipped" in told
        assert f"by {ADMIN}" in told
        assert admin.page.locator("#header-inner li a:has-text('Approve')").count() == 0


class TestQuota:
    def test_a_request_is_approved(self, admin: Visitor, alice: Person) -> None:
        alice.ask(
            "POST",
            "quota-requests/",
            json={"account": alice.account()["id"], "hours": "5", "reason": f"More for {alice.email}"},
        )
        admin.open("/admin/")
        admin.press("a.gaas-card:has-text('Quota requests')")
        assert "1 approved" in admin.select("Approve", alice.email)
        assert hours(alice) == ("15.000000", "0.000000")

    def test_hours_are_granted_once_with_a_reason(self, admin: Visitor, alice: Person) -> None:
        admin.open(f"/admin/accounts/account/{alice.account()['id']}/change/")
        assert "not_exact" not in admin.verb("Grant hours", hours="two", reason="A typo.")
        assert hours(alice) == ("10.000000", "0.000000")
        assert "1 granted" in admin.send("Grant hours", hours="2.5", reason="For the good work.")
        assert hours(alice) == ("12.500000", "0.000000")
        assert "15.000000" not in admin.text()


class TestFleet:
    def test_a_gpu_leaves_the_market_and_comes_back(self, admin: Visitor, browsed: Up) -> None:
        gpu = next(browsed.admin().pages("gpus/"))
        admin.open(f"/admin/gpus/gpu/{gpu['id']}/change/")
        assert "1 unlisted" in admin.verb("Unlist", reason="A look inside.")
        assert browsed.admin().call("GET", f"gpus/{gpu['id']}/")["availability"] == "UNLISTED"
        assert admin.page.locator("#header-inner li a:has-text('Drain')").count() == 0
        assert "1 listed" in admin.verb("List")
        assert browsed.admin().call("GET", f"gpus/{gpu['id']}/")["availability"] == "AVAILABLE"

    def test_a_host_joins_by_a_token_shown_once_and_is_revoked(
        self, admin: Visitor, browsed: Up, tmp_path: Path
    ) -> None:
        admin.open("/admin/gpus/host/add/")
        admin.page.click(".select2-selection")
        admin.page.fill(".select2-search__field", "Platform")
        admin.page.click(".select2-results__option:has-text('Platform')")
        admin.page.fill("[name=name]", f"rig {HOSTILE[:60]}")
        admin.press("button[name=_continue]")
        token = re.search(r"gaasj_\S+", admin.text())
        assert token is not None
        assert "Joining" in admin.text()
        assert HOSTILE[:60] in admin.text()
        admin.look().reload()
        assert "gaasj_" not in admin.text()

        subprocess.run(
            [sys.executable, "-m", "gpus.agent", "join", "--server", browsed.url, "--state", str(tmp_path)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "GAAS_JOIN_TOKEN": token[0]},
            check=True,
            timeout=180,
        )
        assert "This field is required" in admin.verb("Revoke")
        assert "1 revoked" in admin.send("Revoke", reason=f"Lost. {HOSTILE}")
        assert "Revoked" in admin.text()
        assert admin.page.locator("#header-inner li a:has-text('Revoke')").count() == 0
        admin.press("#header-inner li a:has-text('Audit trail')")
        assert f"Lost. {HOSTILE}" in admin.text()


class TestStaff:
    def test_who_may_approve_sees_what_to_approve_and_nothing_else(
        self, visit: Callable[..., Visitor], alice: Person, browsed: Up
    ) -> None:
        task = alice.submit("echo limited", title="For the approver")
        approver = newcomer(browsed.url, "approver")
        browsed.manage(
            "shell",
            "--command",
            "from accounts.models import User; from django.contrib.auth.models import Permission;"
            f"u = User.objects.get(email={approver.email!r}); u.is_staff = True; u.save();"
            "u.user_permissions.set(Permission.objects.filter(codename='approve_task'))",
        )
        dan = visit().log_in(approver.email, approver.password)
        links = dan.page.locator("#nav-sidebar-apps a, nav a, aside a").evaluate_all("all => all.map(a => a.pathname)")
        assert {link for link in links if re.fullmatch(r"/admin/\w+/\w+/", link)} == {"/admin/tasks/task/"}
        dan.press("a:has-text('For the approver')")
        assert dan.page.locator("#header-inner li a:has-text('Cancel')").count() == 0
        assert "1 approved" in dan.verb("Approve")
        dan.open("/admin/accounts/user/", expect=403)
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"

    def test_who_may_nothing_is_told_so(self, visit: Callable[..., Visitor], browsed: Up) -> None:
        nobody = newcomer(browsed.url, "nobody")
        browsed.manage(
            "shell",
            "--command",
            f"from accounts.models import User; User.objects.filter(email={nobody.email!r}).update(is_staff=True)",
        )
        assert "Nothing is open to you yet" in visit().log_in(nobody.email, nobody.password).text()


class TestEveryPage:
    """Texts of strangers are on all of them; each is examined as Visitor does."""

    def test_it_opens_and_shows_text_as_text(self, admin: Visitor, alice: Person, browsed: Up) -> None:
        task = alice.submit(SCRIPT, title=HOSTILE, hours="0.1")
        waiting = alice.submit(SCRIPT, title=f"{HOSTILE} waits", hours="0.1")
        refused = alice.submit(SCRIPT, title=f"{HOSTILE} refused", hours="0.1")
        staff = browsed.admin()
        staff.call("POST", f"tasks/{refused['id']}/reject/", json={"reason": HOSTILE})
        staff.approve(task["id"])
        at_its_end(alice, task["id"])
        account = alice.account()["id"]
        alice.ask("POST", "quota-requests/", json={"account": account, "hours": "1", "reason": HOSTILE})

        for one in (task, refused):
            admin.open(task_page(one))
            assert admin.text().count(HOSTILE) >= 2
        admin.open(task_page(waiting))
        admin.press("#header-inner li a:has-text('Reject')")
        assert HOSTILE in admin.text()

        admin.open("/admin/")
        lists = admin.page.locator("a").evaluate_all("all => [...new Set(all.map(a => a.pathname))]")
        lists = [path for path in lists if re.fullmatch(r"/admin/\w+/\w+/", path)]
        assert len(lists) >= 18
        for path in lists:
            admin.open(path)
            links = admin.page.locator("a").evaluate_all("all => [...new Set(all.map(a => a.pathname))]")
            if f"{path}add/" in links:
                admin.open(f"{path}add/")
            change = next((link for link in links if link.startswith(path) and link.endswith("/change/")), None)
            if change is None:
                continue
            admin.open(change)
            buttons = admin.page.locator("#header-inner li a").evaluate_all("all => all.map(a => a.pathname)")
            for button in buttons:
                admin.open(button)
