#!/usr/bin/env python3
"""Take the pictures of README and docs anew: a demo in a folder of its own, a few more tasks, Chromium.

    make screenshots
    make screenshots ARGS="--to pictures"

The server starts on a free port with an empty home and is ended afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from gaas import demo  # noqa: E402
from gaas.demo.walk import Caller  # noqa: E402
from tests.peers import free_port  # noqa: E402

WIDTH, HEIGHT = 1280, 800
MAX_BYTES = 200_000
WAIT_SECONDS = 60

TRAIN = """for epoch in 1 2 3 4 5 6; do echo "epoch $epoch done"; sleep 1; done"""
MISSING = """echo "reading /data/2025-10.parquet"; echo "no such file" >&2; exit 3"""
LONG = """for step in $(seq 1 600); do echo "step $step of 600"; sleep 1; done"""


@contextmanager
def running_demo() -> Iterator[tuple[str, dict[str, str]]]:
    """Lend a demo that has run its task: its address and its log-ins."""
    home = Path(tempfile.mkdtemp(prefix="gaas-pictures-"))
    try:
        subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "demo", "--port", str(free_port())],
            env={
                **os.environ,
                "GAAS_HOME": str(home),
                "DATABASE_URL": f"sqlite:///{home}/gaas.sqlite3",
                "BROKER_URL": "memory://",
                "CACHE_URL": "locmemcache://pictures",
            },
            check=True,
        )
        pid, url = (home / "up.pid").read_text().split()
        try:
            yield url, demo.log_ins(home)
        finally:
            os.kill(int(pid), signal.SIGTERM)
            until = time.monotonic() + WAIT_SECONDS
            while (home / "up.pid").exists() and time.monotonic() < until:
                time.sleep(0.1)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def seed(url: str, log_ins: dict[str, str]) -> dict[str, str]:
    """Bring tasks into different states over REST; gives the ids of those that pictures show."""
    admin, alice = (Caller(url, person.email, log_ins[person.email]) for person in demo.PEOPLE[:2])
    host = admin.call("GET", "hosts/")["results"][0]
    admin.call("PATCH", f"hosts/{host['id']}/", json={"name": "workbench", "region": "lab"})
    done = alice.call("GET", "tasks/", params={"status": "COMPLETED"})["results"][0]["id"]

    def submit(title: str, script: str, hours: str, **more: Any) -> str:
        body = {"title": title, "spec": {"script": script}, "hours": hours, **more}
        return str(alice.call("POST", "tasks/", json=body)["id"])

    def decide(id_: str, verb: str, **body: Any) -> str:
        admin.call("POST", f"tasks/{id_}/{verb}/", json=body)
        return id_

    def reaches(id_: str, *states: str) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while (status := alice.call("GET", f"tasks/{id_}/")["status"]) not in states:
            if time.monotonic() > until:
                raise SystemExit(f"{id_} is {status}, not {' or '.join(states)}")
            time.sleep(0.2)

    reaches(decide(submit("Train the tokenizer", TRAIN, "0.5"), "approve"), "COMPLETED")
    reaches(decide(submit("Clean October's data", MISSING, "0.25"), "approve"), "FAILED")
    decide(submit("Mine some coins", LONG, "4"), "reject", reason="Not what these GPUs are for.")
    alice.call("POST", f"tasks/{submit('A typo in the seed', TRAIN, '0.5')}/cancel/", json={})
    running = decide(submit("Fine-tune the support model", LONG, "2"), "approve")
    reaches(running, "PROCESSING")
    decide(submit("Evaluate on the test set", TRAIN, "1"), "approve")
    submit("Embed the handbook", TRAIN, "1.5", cost_code="docs-2025")
    pending = submit("Sweep the learning rate", TRAIN, "2", cost_code="ml-research")
    account = alice.call("GET", "accounts/")["results"][0]["id"]
    alice.call("POST", "quota-requests/", json={"account": account, "hours": "40", "reason": "A sweep of ten runs."})
    return {"done": done, "running": running, "pending": pending}


def log_in(page: Page, url: str, email: str, password: str) -> None:
    page.goto(f"{url}/admin/")
    page.fill("[name=username]", email)
    page.fill("[name=password]", password)
    page.click("main button, #login-form [type=submit]")
    page.wait_for_url(f"{url}/admin/")


def take(page: Page, to: Path, name: str, address: str, *, height: int = HEIGHT) -> None:
    """Picture a page as it looks at rest; raises SystemExit when the file is too large for a README."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    path = to / f"{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    size = path.stat().st_size
    print(f"{path} {size // 1000} kB", flush=True)  # noqa: T201
    if size > MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {MAX_BYTES}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of README and docs from a demo of its own.")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images", help="the folder for the pictures")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser to use")
    to, chromium = (options := parser.parse_args()).to, options.chromium
    if not chromium:
        raise SystemExit("There is no chromium on this machine: install it, or name one by --chromium.")
    to.mkdir(parents=True, exist_ok=True)
    with running_demo() as (url, log_ins), sync_playwright() as playwright:
        ids = seed(url, log_ins)
        flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        options = {"color_scheme": "light", "locale": "en-GB", "timezone_id": "UTC", "reduced_motion": "reduce"}
        page = browser.new_page(**options)
        take(page, to, "landing", f"{url}/")
        log_in(page, url, *next(iter(log_ins.items())))
        take(page, to, "admin-dashboard", f"{url}/admin/")
        take(page, to, "admin-tasks", f"{url}/admin/tasks/task/")
        take(page, to, "admin-task", f"{url}/admin/tasks/task/{ids['done']}/change/", height=1250)
        take(page, to, "api", f"{url}/api/v1/tasks/{ids['running']}/", height=1000)
        browser.close()


if __name__ == "__main__":
    main()
