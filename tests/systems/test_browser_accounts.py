"""A family in a real browser: children, members by a letter's link, shares, limits and API keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from tests.systems.browser import HOSTILE, Visitor, visits
from tests.systems.house import Up
from tests.systems.people import PATIENCE_SECONDS, Person, eventually, newcomer
from tests.systems.test_browser_pages import by_keyboard

Visit = Callable[..., Visitor]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
TOUCHED = "main .button, main button, main summary, main input:not([type=hidden]), main select, main .tabs a"


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("letters")


@pytest.fixture(scope="module")
def mailed(letters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform whose letters end as files."""
    environment = {
        "EMAIL_URL": f"filemail:///{letters}",
        "THROTTLE_TOKEN": "1000/min",
        "THROTTLE_TOKEN_ADDRESS": "1000/min",
    }
    with Up(tmp_path_factory.mktemp("mailed"), environment) as house:
        yield house


@pytest.fixture
def visit(chromium: Browser, mailed: Up) -> Iterator[Visit]:
    yield from visits(chromium, mailed.url)


def link_to(letters: Path, email: str, path: str) -> str:
    """Wait for a letter to an address with a link to a page here; gives the link's path and query."""

    def look() -> str | None:
        for file in sorted(letters.iterdir()):
            for raw in re.split(rb"\n-{79}\n", file.read_bytes()):
                letter = message_from_bytes(raw.lstrip(), policy=policy.default)
                found = re.search(rf"http://[^/\s]+({path}\S+)", letter.get_content())
                if found and letter["To"] == email:
                    return found[1]
        return None

    found: str = eventually(PATIENCE_SECONDS, f"a letter to {email} with {path}", look)
    return found


def come_in(visit: Visit, letters: Path, person: Person, **how: object) -> Visitor:
    """Log in and confirm one's address by the letter's link."""
    visitor = visit(**how).log_in(person.email, person.password, to="/accounts/")
    visitor.open(link_to(letters, person.email, "/accounts/verify-email/"))
    visitor.press("main button")
    return visitor


def unfold(visitor: Visitor, words: str) -> None:
    """Open what is folded away, by keyboard."""
    summary = visitor.page.locator("summary", has_text=words).first
    if summary.evaluate("e => !e.parentElement.open"):
        summary.focus()
        visitor.page.keyboard.press("Enter")


def fill(visitor: Visitor, verb: str, *, expect: int = 200, **fields: str) -> str:
    """Fill the form of a verb, send it by the Enter key on its button, and give what is told then."""
    form = visitor.page.locator(f"main form:has(input[name=do][value={verb}])").first
    for name, value in fields.items():
        field = form.locator(f"[name={name}]")
        if field.evaluate("e => e.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    visitor.expect(expect)
    form.locator("button").focus()
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    visitor.look()
    return visitor.text()


def fits(visitor: Visitor) -> None:
    """Assert that nothing is wider than a phone and that all can be touched."""
    page = visitor.page
    for fold in page.locator("main details").all():
        fold.evaluate("e => { e.open = true }")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360, page.url
    for place in page.locator(TOUCHED).all():
        box = place.bounding_box()
        if box and place.get_attribute("type") != "checkbox":
            assert box["height"] >= 44, f"{page.url}: {place.inner_text()[:40]} is {box['height']} high"


@pytest.fixture(scope="module")
def family(mailed: Up) -> tuple[Person, list[str]]:
    """Somebody with an account, a child with a cap, and a key, and the paths of their pages."""
    person = newcomer(mailed.url, "on-the-phone")
    parent = person.call("POST", "accounts/", json={"name": "A family with a rather long name that has to wrap"})
    child = person.call("POST", f"accounts/{parent['id']}/children/", json={"name": "x" * 150})
    person.call("POST", f"accounts/{child['id']}/caps/", json={"period": "week", "hours": "5"})
    person.call("POST", f"accounts/{child['id']}/thresholds/", json={"hours": "2"})
    key = {"name": "Nightly runs", "scopes": ["tasks:read", "tasks:write", "gpus:read"], "cap_hours": "3"}
    person.call("POST", "api-keys/", json={**key, "allow_list": ["2001:db8:1234:5678:9abc:def0:1234:5678"]})
    of_parent = [f"/accounts/{parent['id']}/{part}" for part in ("", "members/", "children/")]
    return person, ["/accounts/all/", "/accounts/keys/", f"/accounts/{child['id']}/", *of_parent]


class TestFamily:
    def test_a_parent_shares_with_a_child_and_the_child_joins(self, visit: Visit, mailed: Up, letters: Path) -> None:
        parent, kid = (newcomer(mailed.url, name) for name in ("parent", "kid"))
        pat = come_in(visit, letters, parent)

        # 1. An account for the family, found from the first page.
        pat.open("/")
        pat.press("nav[aria-label=Main] a:has-text('Accounts')")
        assert "To share hours with others" in pat.text()
        assert "you own it" in fill(pat, "create_account", name=f"Family {HOSTILE}")
        family = pat.page.url
        id_ = family.rstrip("/").rpartition("/")[2]
        # Hours come from staff, as after an approved request.
        asked = parent.call("POST", "quota-requests/", json={"account": id_, "hours": "20", "reason": "A year"})
        mailed.admin().call("POST", f"quota-requests/{asked['id']}/approve/", json={})

        # 2. A child with hours and a cap.
        pat.press(".tabs a:has-text('Children')")
        assert "Make the first" in pat.text()
        assert "Kim is made" in fill(pat, "create_child", name="Kim")
        child = pat.page.url
        unfold(pat, "Give hours or money")
        assert "for 21" not in fill(pat, "fund", expect=400, amount="21")
        assert pat.page.locator("[role=alert]").is_visible()
        assert "Kim has it now" in fill(pat, "fund", amount="5.5")
        assert "5.5 GPU-hours" in pat.text()
        unfold(pat, "Set a cap")
        assert "0 GPU-hours of 2 GPU-hours this week" in fill(pat, "set_cap", amount="2", period="week")
        unfold(pat, "Set a threshold")
        assert "above 1 GPU-hours first" in fill(pat, "set_threshold", amount="1")
        unfold(pat, "Take back")
        assert "It is back with Family" in fill(pat, "reclaim", amount="0.5")
        assert "5 GPU-hours" in pat.text()

        # 3. A member by a letter's link, who logs in on the way.
        pat.press(".tabs a:has-text('Members')")
        assert f"on its way to {kid.email}" in fill(pat, "invite", email=kid.email)
        link = link_to(letters, kid.email, "/accounts/join/")
        stranger = visit()
        stranger.open(link)
        stranger.press("main a:has-text('Log in')")
        stranger.page.fill("[name=username]", kid.email)
        stranger.page.fill("[name=password]", kid.password)
        stranger.press("main button")
        assert "Confirm that this address is yours" in stranger.text()
        stranger.open(link_to(letters, kid.email, "/accounts/verify-email/"))
        stranger.press("main button")
        stranger.open(link)
        stranger.press("main button:has-text('Join')")
        assert "You belong to Kim now, as member" in stranger.text()
        assert stranger.page.url == child
        assert stranger.page.locator("input[name=do]").count() == 0
        assert "Family" not in stranger.page.inner_text("main")
        stranger.open(family.removeprefix(mailed.url), expect=404)

        # 4. A role changes, and the member leaves.
        pat.page.reload()
        unfold(pat, "Change role")
        assert f"{kid.email}, viewer" in fill(pat, "change_role", role="VIEWER")
        stranger.open(f"{child.removeprefix(mailed.url)}members/")
        unfold(stranger, "Leave")
        assert "You left Kim" in fill(stranger, "remove_member")


class TestKeys:
    def test_a_key_is_made_shown_once_rotated_and_revoked(self, visit: Visit, mailed: Up) -> None:
        person = newcomer(mailed.url, "keeper")
        visitor = visit().log_in(person.email, person.password, to="/accounts/keys/")
        visitor.page.check("[name=scopes][value='tasks:read']")
        fill(visitor, "create_key", name=f"CI {HOSTILE}", cap_gpu_ms="2")
        secret = visitor.page.inner_text("pre")
        tasks, headers = f"{mailed.url}/api/v1/tasks/", {"Authorization": f"Bearer {secret}"}
        assert httpx.get(tasks, headers=headers, trust_env=False).status_code == 200
        visitor.open("/accounts/keys/")
        assert secret not in visitor.page.content()
        assert "0 GPU-hours of 2 GPU-hours a month" in visitor.text()
        unfold(visitor, "Rotate")
        fill(visitor, "rotate_key", overlap="0")
        successor = visitor.page.inner_text("pre")
        assert httpx.get(tasks, headers=headers, trust_env=False).status_code == 401
        visitor.open("/accounts/keys/")
        unfold(visitor, "Revoke")
        assert "is refused from now on" in fill(visitor, "revoke_key", reason="Done")
        headers = {"Authorization": f"Bearer {successor}"}
        assert httpx.get(tasks, headers=headers, trust_env=False).status_code == 401


class TestEverybody:
    def test_the_pages_fit_a_phone(self, visit: Visit, family: tuple[Person, list[str]]) -> None:
        person, paths = family
        visitor = visit(**PHONE).log_in(person.email, person.password, to="/accounts/")
        for path in [*paths, "/accounts/join/?token=x"]:
            visitor.open(path, expect=400 if "token" in path else 200)
            fits(visitor)

    def test_all_is_reached_by_tab(self, visit: Visit, family: tuple[Person, list[str]]) -> None:
        person, paths = family
        visitor = visit().log_in(person.email, person.password, to="/accounts/")
        for path in paths:
            page = visitor.open(path)
            links = page.locator("a[href]").evaluate_all("all => all.map(e => e.getAttribute('href'))")
            reached = by_keyboard(page)
            assert set(links) <= set(reached), path
            assert reached.count("SUMMARY") >= page.locator("summary").count(), path

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_texts_stand_out(self, visit: Visit, family: tuple[Person, list[str]], scheme: str) -> None:
        person, paths = family
        visitor = visit(color_scheme=scheme).log_in(person.email, person.password, to="/accounts/")
        for path in paths:
            visitor.open(path)
            measured = visitor.contrast("h1, h2, h3, p, a, button, summary, label, dt, dd, .soft, .help, option, code")
            assert measured[0][0] >= 4.5, (path, measured[0])
