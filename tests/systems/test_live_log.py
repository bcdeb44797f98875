"""The log that grows while somebody looks at it, on the task's page and in the admin."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.systems.browser import HOSTILE, Visitor
from tests.systems.house import ADMIN, Up
from tests.systems.people import newcomer

SCRIPT = r"""
printf 'plain \033[31mred \033[1mbold\033[0m \033]0;title\007done\n'
printf 'bar 10%%\rbar 100%%\n'
printf '\377\376 no text\n'
cat <<'END'
HOSTILE
END
for step in 1 2 3; do
  echo "GAAS_PROGRESS {\"step\": $step, \"of\": 3, \"metrics\": {\"loss\": 0.$step}}"
  echo "step $step"; sleep 1
done
while true; do echo tick; sleep 0.3; done
""".replace("HOSTILE", HOSTILE)
# Where the pictures go that a person wants to look at; none are kept otherwise.
PICTURES = os.environ.get("PICTURES")


def picture(visitor: Visitor, name: str) -> None:
    if PICTURES:
        visitor.page.screenshot(path=str(Path(PICTURES, f"{name}.png")), full_page=True)


class TestLiveLog:
    def test_it_grows_on_both_pages(self, browsed: Up, visit: Callable[..., Any]) -> None:
        alice = newcomer(browsed.url, "live-alice")
        task = alice.submit(SCRIPT, title="Watch me")
        theirs = visit().log_in(alice.email, "a-long-password-of-live-alice", to="/tasks/")
        theirs.page.goto(f"/tasks/{task['id']}/")  # never at rest: it listens
        expect(theirs.page.locator("[data-live=status]")).to_have_text("Pending approval")
        admin = visit().log_in(ADMIN, browsed.password)
        admin.page.goto(f"/admin/tasks/task/{task['id']}/change/")

        browsed.admin().approve(task["id"])
        for visitor in (theirs, admin):
            page = visitor.page
            log = page.locator("[data-live=log]")
            expect(page.locator("[data-live=status]")).to_have_text("Running")
            expect(log).to_contain_text("step 3")
            expect(page.locator("[data-live=progress]")).to_have_text("step 3 of 3 · loss 0.3")
            expect(page.locator("progress")).to_have_attribute("value", "3")
            expect(page.locator("[data-live=events]")).to_contain_text("PROCESSING")
            text = log.inner_text()
            assert "plain red bold done" in text
            assert "bar 100%" in text
            assert "bar 10%" not in text
            assert HOSTILE in text
            assert page.evaluate("window.pwned") is None
            assert page.locator(".ansi-c1").first.inner_text().startswith("red")

        follow = theirs.page.locator("[data-live=follow]")
        follow.focus()
        theirs.page.keyboard.press("Enter")
        expect(follow).to_have_attribute("aria-pressed", "false")
        for width in (1280, 360):
            for visitor, name in ((theirs, "task"), (admin, "admin-task")):
                visitor.page.set_viewport_size({"width": width, "height": 800})
                picture(visitor, f"{name}-{width}")
            assert theirs.page.evaluate("document.documentElement.scrollWidth") <= width
        assert theirs.contrast(".live-tools button, .live-log span, .live-bar span")[0][0] >= 4.5

        alice.call("POST", f"tasks/{task['id']}/cancel/", json={"reason": "Seen enough"})
        expect(theirs.page.locator("[data-live=status]")).to_contain_text("Cancelled")
        theirs.press("text=Show what it cost")
        expect(theirs.page.locator("dd").first).to_have_text("Cancelled")
        assert "step 3" in theirs.page.locator("[data-live=log]").inner_text()

    def test_others_find_no_page(self, browsed: Up, visit: Callable[..., Any]) -> None:
        task = newcomer(browsed.url, "live-bob").submit("true")
        charlie = newcomer(browsed.url, "live-charlie")
        theirs = visit().log_in(charlie.email, "a-long-password-of-live-charlie", to="/tasks/")
        theirs.open(f"/tasks/{task['id']}/", expect=404)
