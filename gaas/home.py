"""What `up` and `demo` need before Django reads its settings. Standard library only.

An installation that nobody configured gets a home, a secret key kept in it, and the settings of one process
on loopback; whatever the environment says already stays as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
VERBS = ("up", "demo")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Let a parser take the address that `prepare` reads too."""
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on (default %(default)s)")


def prepare(argv: Sequence[str], base: Path) -> None:
    """Set in the environment what is missing there, for `manage.py <verb> …` of VERBS."""
    parser = argparse.ArgumentParser(add_help=False)
    add_address(parser)
    given, _ = parser.parse_known_args(argv)
    home = Path(os.environ.setdefault("GAAS_HOME", str(base / "var"))).resolve()
    os.environ["GAAS_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shown = "127.0.0.1" if given.host in ("0.0.0.0", "::") else given.host  # noqa: S104
    os.environ.setdefault("BASE_URL", f"http://{f'[{shown}]' if ':' in shown else shown}:{given.port}")
    os.environ.setdefault("ALLOW_SIMULATED", "1")
    if not os.environ.get("SECRET_KEY"):
        keep_secret_key(home / "secret_key")


def keep_secret_key(path: Path) -> None:
    """Make the key once; of two processes that start together one makes it, and neither sees half of it."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(64))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
