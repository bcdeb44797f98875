"""What a statement, a receipt or a chain calls a movement of money that people made: each can be booked once."""

from __future__ import annotations

import re
import unicodedata

from gaas.lib.errors import Conflict, DomainError

_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)


class ReferenceUsed(Conflict):
    """Refuse to book what a statement shows once a second time."""

    code = "reference_used"


def as_booked(method: str, reference: str) -> tuple[str, str]:
    """Write both as they are stored: one line of a statement is one, in whatever case, width or spacing it is typed."""
    method, reference = (" ".join(unicodedata.normalize("NFKC", text).split()) for text in (method, reference))
    if not method or not reference:
        raise DomainError("Say how the money went and what the statement calls it.", attr="reference", code="required")
    if len(method) > 40 or len(reference) > 140:
        raise DomainError("Give at most 40 characters of a method and 140 of a reference.", attr="reference")
    return method.lower(), reference.upper()


def hash_of(text: str, *, attr: str) -> str:
    """Give a transaction's hash in lower case. Raises DomainError for what is none."""
    lower = text.strip().lower()
    if not _HASH.fullmatch(lower):
        raise DomainError("A transaction's hash is 0x and 64 hexadecimal digits.", code="invalid", attr=attr)
    return lower
