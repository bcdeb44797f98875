"""Frames of the relay: many HTTP exchanges on one WebSocket. Imported by both sides; the standard library alone.

A binary message is `kind` (1 byte), the exchange's `id` (4 bytes, big endian, given by the server), and a payload:

    OPEN    JSON: to the agent {"method", "path", "headers": [[name, value], …]}, back {"status", "headers"}
    DATA    a part of the body, at most CHUNK bytes
    END     nothing: the body is complete; both sides have sent theirs → the exchange is over
    CANCEL  UTF-8: why it ends at once
    CREDIT  4 bytes: so many more bytes of body may come

Each side may send WINDOW bytes of body before it is given credit, so one slow reader holds up nobody else.
"""

from __future__ import annotations

import struct

OPEN, DATA, END, CANCEL, CREDIT = 1, 2, 3, 4, 5
KINDS = frozenset({OPEN, DATA, END, CANCEL, CREDIT})

CHUNK = 64 * 1024
WINDOW = 256 * 1024
MAX_HEAD = 64 * 1024
MAX_FRAME = CHUNK + 5
MOST_EXCHANGES = 64

_HEAD = struct.Struct(">BI")
_NUMBER = struct.Struct(">I")

# What belongs to one connection, and what must not come through from one house to the other.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "http2-settings", "expect"}
)


class BadFrame(ValueError):
    """State that a message is no frame."""


def pack(kind: int, id_: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(kind, id_) + payload


def credit(id_: int, size: int) -> bytes:
    return pack(CREDIT, id_, _NUMBER.pack(size))


def credit_of(payload: bytes) -> int:
    if len(payload) != _NUMBER.size:
        raise BadFrame("a credit is a number of four bytes")
    return int(_NUMBER.unpack(payload)[0])


def unpack(message: object) -> tuple[int, int, bytes]:
    """Give kind, id and payload. Raises BadFrame."""
    if not isinstance(message, bytes) or not _HEAD.size <= len(message) <= MAX_FRAME:
        raise BadFrame("a frame has 5 to 65 541 bytes")
    kind, id_ = _HEAD.unpack_from(message)
    if kind not in KINDS:
        raise BadFrame(f"there is no frame of kind {kind}")
    return kind, id_, message[_HEAD.size :]


def end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the headers that belong to one connection, those that `Connection` names included."""
    named = {
        part.strip().lower() for name, value in headers if name.lower() == "connection" for part in value.split(",")
    }
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP | named]
