"""The two secrets of a host: what they look like and how they are kept.

Both are 256 random bits, so one SHA-256 without salt is enough, and a unique index finds the host.
"""

from __future__ import annotations

import hashlib
import secrets

JOIN_PREFIX = "gaasj_"
SECRET_PREFIX = "gaash_"  # noqa: S105 - the public beginning, by which scanners and people know it


def new_join_token() -> str:
    return JOIN_PREFIX + secrets.token_urlsafe(32)


def new_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def digest(credential: str) -> str:
    """Hash a credential as it is stored and looked up."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
