"""The chain of audit events: each event's digest covers what it says and the digest before it.

So whoever changes, removes or swaps events has to write every later digest anew, and then the last one is
another than the one that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# What a digest covers, besides the event's number and the digest before it.
COVERED = (
    "id",
    "created_at",
    "actor_id",
    "actor_label",
    "action",
    "object_type",
    "object_id",
    "object_label",
    "account_id",
    "before",
    "after",
    "reason",
    "address",
    "request_id",
    "at",
)


@dataclass(frozen=True)
class Link:
    """State where the chain is: the number of an event and its digest; before the first, 0 and nothing."""

    seq: int = 0
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"


def next_link(event: Mapping[str, Any], after: Link) -> Link:
    """Give an event its place behind another; `event` has at least the covered columns, as read from the database."""
    seq = after.seq + 1
    said = {name: _plain(event[name]) for name in COVERED}
    text = json.dumps({"seq": seq, "before": after.digest, "event": said}, sort_keys=True, separators=(",", ":"))
    return Link(seq, hashlib.sha256(text.encode()).hexdigest())


def first_break(events: Iterable[Mapping[str, Any]], noted: Iterable[Link] = ()) -> tuple[str | None, Link]:
    """Follow the chain in order; give what is wrong first, if anything, and how far the chain holds.

    `noted` are links that were written down elsewhere: the chain has to lead through each.
    """
    at = Link()
    wanted = {link.seq: link.digest for link in noted}
    for event in events:
        link = next_link(event, at)
        if event["seq"] != link.seq:
            return f"event {link.seq} is missing: after {at.seq} comes {event['seq']} ({event['id']})", at
        if event["digest"] != link.digest:
            return f"event {link.seq} ({event['id']}) is not what was chained, or what stood before it is not", at
        if wanted.pop(link.seq, link.digest) != link.digest:
            return f"event {link.seq} ({event['id']}) has another digest than was noted: the chain was written anew", at
        at = link
    if wanted:
        return f"event {min(wanted)} was noted and is missing: the chain ends at {at.seq}", at
    return None, at


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value if value is None or isinstance(value, (dict, list, str)) else str(value)
