"""How images are named and when they are pulled; the server reads names by the same rules."""

from __future__ import annotations

import re
from typing import Any

ALWAYS, MISSING, NEVER = "always", "missing", "never"
POLICIES = (ALWAYS, MISSING, NEVER)

_REFERENCE = re.compile(
    r"(?=.{1,512}\Z)(?:[A-Za-z0-9.-]+(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)
DEFAULT_REGISTRY = "docker.io"


def is_reference(image: Any) -> bool:
    return isinstance(image, str) and _REFERENCE.match(image) is not None


def full(image: str) -> str:
    """Name the tag that is meant where none is given; without one an engine would pull them all."""
    name = image.rpartition("/")[2]
    return image if ":" in name or "@" in name else f"{image}:latest"


def registry_of(image: str) -> str:
    """Name the registry that an image comes from, as an engine understands the name."""
    first, slash, _ = image.partition("/")
    return first if slash and (first == "localhost" or "." in first or ":" in first) else DEFAULT_REGISTRY
