"""The pages for everybody, in a real browser: by keyboard, on a phone, read aloud, and without another host."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.systems.browser import HOSTILE, Visitor
from tests.systems.house import Up
from tests.systems.people import Person, newcomer

Visit = Callable[..., Visitor]

# What tells a person where the keyboard is: an outline or a ring around the element.
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return {
    at: e.tagName === "BODY" ? null : (e.getAttribute("href") || e.name || e.type || e.tagName),
    isShown: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none",
  };
}"""
LINKS = "all => all.filter(e => e.checkVisibility({visibilityProperty: true})).map(e => e.getAttribute('href'))"


def by_keyboard(page: Page) -> list[str]:
    """Press Tab until the page is left; gives what was reached, each of which showed that it was."""
    reached: list[str] = []
    for _ in range(100):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        if focus["at"] is None:
            break
        assert focus["isShown"], f"no visible focus on {focus['at']}"
        reached.append(focus["at"])
    return reached


@pytest.fixture(scope="module")
def alice(browsed: Up) -> Person:
    return newcomer(browsed.url, "alice-in-front")


class TestLandingPage:
    def test_it_fits_a_phone(self, visit: Visit) -> None:
        page = visit(viewport={"width": 360, "height": 740}, has_touch=True).open("/")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
        for button in page.locator("a.button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44

    def test_every_link_is_reached_by_tab(self, visit: Visit) -> None:
        page = visit().open("/")
        links = page.locator("a[href]").evaluate_all(LINKS)
        reached = by_keyboard(page)
        assert reached[0] == "#main"
        assert set(links) <= set(reached)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_its_texts_stand_out(self, visit: Visit, scheme: str) -> None:
        visitor = visit(color_scheme=scheme)
        visitor.open("/")
        measured = visitor.contrast("h1, h2, h3 a, p, .button, nav a, pre, footer")
        assert len(measured) > 10
        assert measured[0][0] >= 4.5, measured[0]

    def test_it_greets_who_is_logged_in_by_name(self, visit: Visit, browsed: Up) -> None:
        person = Person(browsed.url, "greeted@example.org", "a-long-password-of-greeted")
        body = {"email": person.email, "password": person.password, "name": HOSTILE}
        person.ask("POST", "auth/register/", json=body)
        visitor = visit().log_in(person.email, person.password, to="/")
        assert HOSTILE in visitor.text()
        assert "10.000000" in visitor.text()
        visitor.press("button:has-text('Log out')")
        visitor.open("/")
        assert HOSTILE not in visitor.text()


class TestLogIn:
    @pytest.mark.parametrize("path", ["/api-auth/login/?next=/", "/admin/"])
    def test_it_works_by_keyboard_and_says_what_went_wrong(self, visit: Visit, alice: Person, path: str) -> None:
        visitor = visit()
        visitor.expect(400)
        page = visitor.open(path)
        page.focus("[name=username]")
        page.keyboard.type(alice.email)
        page.keyboard.press("Tab")
        page.keyboard.type("not the password")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        visitor.look()
        assert "correct" in visitor.text()
        assert page.input_value("[name=username]") == alice.email

    def test_its_texts_stand_out(self, visit: Visit) -> None:
        visitor = visit()
        visitor.open("/api-auth/login/")
        assert visitor.contrast("h1, label, button, footer")[0][0] >= 4.5


class TestErrors:
    def test_a_page_that_is_not_there_leads_back(self, visit: Visit) -> None:
        visitor = visit()
        page = visitor.open("/nowhere/", expect=404)
        assert "/" in by_keyboard(page)
        assert visitor.contrast("h1, p, a.button")[0][0] >= 4.5

    def test_a_form_without_its_token_says_what_to_do(self, visit: Visit) -> None:
        visitor = visit()
        page = visitor.open("/api-auth/login/")
        page.fill("[name=username]", "alice@example.org")
        page.fill("[name=password]", "whatever it is")
        visitor.context.clear_cookies()
        visitor.press("main button", expect=403)
        assert "out of date" in visitor.text()


class TestDocs:
    def test_swagger_shows_every_part(self, visit: Visit) -> None:
        page = visit().page
        page.goto("/api/docs/")
        for part in ("accounts", "gpus", "payments", "tasks", "webhooks"):
            page.wait_for_selector(f"#operations-tag-{part}")
        page.click("#operations-tag-tasks")
        page.click("#operations-tasks-tasks_list summary, #operations-tasks-tasks_list button >> nth=0")
        page.wait_for_selector("#operations-tasks-tasks_list .responses-table")

    def test_redoc_shows_every_part(self, visit: Visit) -> None:
        page = visit().page
        page.goto("/api/redoc/")
        page.wait_for_selector("[id='tag/tasks']")
        page.wait_for_load_state("networkidle")
        assert page.locator("[data-section-id^='tag/tasks/operation']").count() >= 5


class TestBrowsableAPI:
    @pytest.fixture
    def visitor(self, visit: Visit, alice: Person) -> Visitor:
        return visit().log_in(alice.email, alice.password, to="/api/v1/tasks/")

    def test_a_task_is_submitted_by_the_form(self, visitor: Visitor) -> None:
        page = visitor.page
        page.click("a[name=html-tab]")
        form = page.locator("#post-object-form form")
        form.locator("[name=title]").fill(f"By form {HOSTILE}")
        form.locator("[name=kind]").fill("script")
        form.locator("[name=spec]").fill('{"script": "echo form"}')
        form.locator("[name=hours]").fill("0.5")
        self._send(visitor, form.locator("button:has-text('POST')"))
        assert "HTTP 201" in visitor.text()
        assert f"By form {json.dumps(HOSTILE)[1:-1]}" in visitor.text()

    def test_a_task_is_submitted_as_raw_data(self, visitor: Visitor) -> None:
        page = visitor.page
        page.click("a[name=raw-tab]")
        body = {"title": f"Raw {HOSTILE}", "spec": {"script": "echo raw"}, "hours": "0.5"}
        page.fill("#id__content", json.dumps(body))
        self._send(visitor, page.locator("#post-generic-content-form button:has-text('POST')"))
        assert "HTTP 201" in visitor.text()
        assert json.dumps(HOSTILE)[1:-1] in visitor.text()

    def test_a_refusal_stands_on_the_page(self, visitor: Visitor) -> None:
        page = visitor.page
        page.click("a[name=raw-tab]")
        page.fill("#id__content", json.dumps({"title": "Too long", "spec": {"script": "x"}, "hours": "11"}))
        self._send(visitor, page.locator("#post-generic-content-form button:has-text('POST')"), expect=400)
        assert "insufficient_quota" in visitor.text()

    def test_nobody_stays_logged_in(self, visitor: Visitor) -> None:
        page = visitor.page
        visitor.expect(401)  # the page it leads back to is not for strangers
        with page.expect_navigation():
            page.click(".navbar button:has-text('Log out')")
        answer = page.request.get("/api/v1/tasks/")
        assert answer.status == 401

    def _send(self, visitor: Visitor, button: object, *, expect: int = 201) -> None:
        visitor.expect(expect)
        with visitor.page.expect_navigation():
            button.click()  # type: ignore[attr-defined]
        visitor.page.wait_for_load_state("networkidle")
        assert not visitor.page.evaluate("window.pwned")
