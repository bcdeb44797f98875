"""What a program left as its result: `$GAAS_OUTPUT/result.json`, if it is one that the server can take."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from .protocol import MAX_RESULT_BYTES

MAX_DEPTH = 32
MAX_DIGITS = 300


class BadResult(ValueError):
    """Say in a sentence why there is no result although the program left a file."""


def _open(output: Path) -> int | None:
    """Open the file without following a link, neither its own nor its folder's, and without waiting on a pipe."""
    folder = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.open("result.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError("a text holds NUL or half a character")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def parse(data: bytes) -> Any:
    """Read strict JSON: what the server's own parser would refuse is refused here, with the reason."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
        _check(value)
    except RecursionError as error:
        raise BadResult(f"result.json was not taken: it is nested deeper than {MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise BadResult(f"result.json was not taken: {str(error)[:200]}.") from error
    return value


def read(output: Path) -> Any:
    """Read the result; None when the program left none. Raises BadResult."""
    try:
        fd = _open(output)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise BadResult("result.json was not taken: it is a link.") from error
        raise BadResult(f"result.json was not taken: {error.strerror}.") from error
    if fd is None:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadResult("result.json was not taken: it is not a plain file.")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(MAX_RESULT_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_RESULT_BYTES:
        raise BadResult(f"result.json was not taken: it is larger than {MAX_RESULT_BYTES // 1024} KiB.")
    return parse(data)
