"""What a hold or a transfer is about, by registration: apps above name their rows in words.

The ledger knows a purpose and a plain reference. Whoever makes holds for a purpose says here how people call them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Subject:
    """Name what something was for, and where to read about it; no path where the reader may not."""

    label: str
    path: str = ""


# Gives of these references those that the user may read about, by reference.
Describe = Callable[[Collection[str], Any], dict[str, Subject]]
_known: dict[str, tuple[str, Describe]] = {}


def register(purpose: str, label: str, describe: Describe) -> None:
    """Make a purpose known; `label` stands for what the reader may not see. Raises ValueError for one that is."""
    if purpose in _known:
        raise ValueError(f"the purpose {purpose!r} is registered already")
    _known[purpose] = label, describe


def ids(refs: Collection[str]) -> list[UUID]:
    """Give the references that are ids; the ledger takes any text."""
    found = []
    for ref in refs:
        with suppress(ValueError):
            found.append(UUID(ref))
    return found


def name_all(wanted: Iterable[tuple[str, str]], user: Any) -> dict[tuple[str, str], Subject]:
    """Name each (purpose, reference), in one call a purpose; of an unknown purpose the word itself."""
    refs: dict[str, set[str]] = defaultdict(set)
    for purpose, ref in wanted:
        refs[purpose].add(ref)
    named: dict[tuple[str, str], Subject] = {}
    for purpose, of_it in refs.items():
        label, describe = _known.get(purpose, (purpose.replace("_", " ").capitalize(), None))
        found = describe(sorted(of_it), user) if describe else {}
        named |= {(purpose, ref): found.get(ref) or Subject(label) for ref in of_it}
    return named
