"""The people of the demo and where their log-ins are kept."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

TASK = Path(__file__).with_name("two_spirals.py")


@dataclass(frozen=True)
class Person:
    """Somebody who can log in; `is_admin` makes a superuser."""

    email: str
    name: str
    is_admin: bool = False


PEOPLE = (
    Person("admin@demo.example", "Ada Admin", is_admin=True),
    Person("alice@demo.example", "Alice Customer"),
    Person("olga@demo.example", "Olga Owner"),
)


def log_ins(home: Path) -> dict[str, str]:
    """Give a password for each person, made once and kept in `home`, readable by its owner alone."""
    path = home / "demo-log-ins.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    missing = [person.email for person in PEOPLE if person.email not in kept]
    if missing:
        kept |= {email: secrets.token_urlsafe(12) for email in missing}
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(kept, file, indent=2)
    return kept
