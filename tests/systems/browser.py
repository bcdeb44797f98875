"""A person in front of Chromium, and what no page may ever do in front of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, Response, expect

# Text that runs as a program wherever it is taken for markup. `pwned` is looked for on every page.
HOSTILE = '<img src=x onerror="pwned=1"></pre><script>pwned=1</script>'

# Of pages and of what they are expected to show: two busy cores take their time.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)

# What every page owes to whoever cannot see it, and that nobody's text became a program.
MARKUP = """() => {
  const wrong = [], seen = (e) => e.checkVisibility({visibilityProperty: true});
  const text = (e) => (e ? e.textContent.trim() : "");
  if (window.pwned) wrong.push("somebody's text ran as a program");
  if (!document.documentElement.lang) wrong.push("no lang");
  if (!document.title.trim()) wrong.push("no title");
  const headings = [...document.querySelectorAll("h1")].filter((e) => seen(e) && text(e));
  if (headings.length !== 1) wrong.push(`${headings.length} h1: ${headings.map(text)}`);
  for (const e of document.querySelectorAll("input, select, textarea")) {
    if (["hidden", "submit", "button"].includes(e.type) || !seen(e)) continue;
    const label = [...(e.labels || [])].map(text).join("") || e.ariaLabel || e.title || e.placeholder
      || (e.getAttribute("aria-labelledby") || "").split(" ").map((id) => text(document.getElementById(id))).join("");
    if (!label) wrong.push(`no label: ${e.outerHTML.slice(0, 120)}`);
  }
  for (const e of document.querySelectorAll("img:not([alt])")) wrong.push(`no alt: ${e.outerHTML.slice(0, 120)}`);
  for (const e of document.querySelectorAll("a[href], button"))
    if (seen(e) && !(text(e) || e.ariaLabel || e.title || e.querySelector("img[alt]:not([alt=''])")))
      wrong.push(`no name: ${e.outerHTML.slice(0, 120)}`);
  return wrong;
}"""

# The least contrast of each selected text with what lies behind it, by the formula of WCAG 2.
CONTRAST = """(selectors) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => rgba(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "#ffffff";
  };
  const shown = (e) => e.checkVisibility() && e.textContent.trim();
  return [...document.querySelectorAll(selectors)].filter(shown).map((e) => {
    const [low, high] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), `${e.tagName} ${e.textContent.trim().slice(0, 40)}`];
  });
}"""


class Visitor:
    """Look at pages as one person with cookies of their own; what went wrong on any of them is kept in `problems`."""

    def __init__(self, browser: Browser, url: str, **how: Any) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, locale="en-GB", timezone_id="UTC", **how)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self._expected: set[int] = set()
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)
        self.page.on("pageerror", lambda error: self._problem(f"exception {error}"))
        self.page.on("console", lambda message: self._on_console(message.type, message.text))

    def expect(self, status: int) -> None:
        """Hold an answer of this status for what was meant."""
        self._expected.add(status)

    def open(self, path: str, *, expect: int = 200) -> Page:
        """Go to a page and look at it."""
        self.expect(expect)
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == expect, f"{path} answered {answer.status}"
        return self.look()

    def press(self, selector: str, *, expect: int = 200) -> Page:
        """Click what leads to another page, and look at that."""
        self.expect(expect)
        with self.page.expect_navigation():
            self.page.click(selector)
        return self.look()

    def look(self) -> Page:
        """Wait until the page is at rest and examine it."""
        self.page.wait_for_load_state("networkidle")
        for wrong in self.page.evaluate(MARKUP):
            self._problem(wrong)
        return self.page

    def log_in(self, email: str, password: str, *, to: str = "/admin/") -> Visitor:
        """Follow the way from a page that asks who one is to that page."""
        self.open(to if to.startswith("/admin") else f"/api-auth/login/?next={to}")
        self.page.fill("[name=username]", email)
        self.page.fill("[name=password]", password)
        self.press("main button, form#login-form [type=submit]")
        assert urlsplit(self.page.url).path == to, self.page.url
        return self

    def verb(self, name: str, **fields: str) -> str:
        """Press a verb's button on an object's page, fill its form and send it; gives what is told then."""
        self.press(f"#header-inner li a:has-text('{name}')")
        return self.send(name, **fields)

    def select(self, verb: str, *titles: str) -> str:
        """Run a list's verb on the rows with these texts; gives the page that comes."""
        for title in titles:
            self.page.locator("#result_list tbody tr", has_text=title).locator("input[type=checkbox]").check()
        self.page.select_option("select[name=action]", label=verb)
        self.press("button[name=index]")
        return self.text()

    def send(self, name: str, **fields: str) -> str:
        """Fill the form of a verb and send it."""
        for field, value in fields.items():
            self.page.fill(f"#content-main [name={field}]", value)
        self.press(f"#content-main button:has-text('{name}')")
        return self.text()

    def text(self) -> str:
        """Read all that can be seen of the page."""
        return self.page.inner_text("body")

    def contrast(self, selectors: str) -> list[tuple[float, str]]:
        """Give (ratio, whose) for every text that the selectors find, least first."""
        return sorted((ratio, whose) for ratio, whose in self.page.evaluate(CONTRAST, selectors))

    def close(self) -> None:
        """End the visit; AssertionError says what any page did that it should not."""
        self.context.close()
        assert not self.problems, "\n".join(dict.fromkeys(self.problems))

    def _problem(self, what: str) -> None:
        self.problems.append(f"{urlsplit(self.page.url).path}: {what}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self._problem(f"asks {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._expected:
            self._problem(f"{response.status} for {response.url}")

    def _on_console(self, kind: str, text: str) -> None:
        # A refusal that was asked for is told by the browser as well.
        refused = re.search(r"status of (\d{3})", text)
        if kind == "error" and not (refused and int(refused[1]) in self._expected):
            self._problem(f"console: {text}")


def visits(browser: Browser, url: str) -> Iterator[Callable[..., Visitor]]:
    """Lend what opens browsers of people's own; in the end none of their pages may have misbehaved."""
    visitors: list[Visitor] = []

    def come(**how: Any) -> Visitor:
        visitors.append(Visitor(browser, url, **how))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()
