"""Names of files that came from somewhere else: which of them are safe to use. Imported by the server too."""

from __future__ import annotations

import re
import unicodedata

MAX_BYTES = 512
MAX_PART_BYTES = 255
MAX_PARTS = 16

# Controls, line separators, and the marks that turn the direction of a text round so that it reads as another one.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")


def problem(name: object) -> str | None:
    """Say why a name is no safe relative path on every system; None when it is one."""
    if not isinstance(name, str) or not name:
        return "it is empty"
    if _CONTROL.search(name):
        return "it has a control character"
    if "\\" in name:
        return "it has a backslash"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    if name.startswith("/") or _DRIVE.match(name):
        return "it is not relative"
    parts = name.split("/")
    if len(parts) > MAX_PARTS:
        return f"it lies deeper than {MAX_PARTS} folders"
    for part in parts:
        if part in ("", ".", ".."):
            return "a part of it is empty or made of dots"
        if len(part.encode()) > MAX_PART_BYTES:
            return f"a part of it is longer than {MAX_PART_BYTES} bytes"
        if part != part.strip() or part.endswith("."):
            return "a part of it begins or ends with a blank, or ends with a dot"
        if _DEVICE.fullmatch(part.split(".")[0].strip()):
            return "a part of it is the name of a device"
    return None


def folded(name: str) -> str:
    """Write a name as a file system that ignores case and ways of writing letters would compare it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def clash(name: str, taken: set[str]) -> bool:
    """Say whether a name meets one of `taken` (folded): the same, or one a folder of the other."""
    own = folded(name)
    parts = own.split("/")
    above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    return own in taken or bool(above & taken) or any(other.startswith(f"{own}/") for other in taken)
