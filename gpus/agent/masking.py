"""Keep secrets out of a stream of bytes, wherever a chunk ends."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = b"***"
MIN_LINE_BYTES = 8  # of a secret of several lines, such as a key, each line of that size is one too
MIN_CUT_BYTES = 4  # a secret that the end of the stream cuts is masked from that size on
_HEAD = 8


def spellings(secret: str) -> set[bytes]:
    """List how programs tend to write a secret: as it is, line by line, in JSON, in an address, in Base64."""
    said = {secret, secret.strip()}
    if "\n" in secret:
        said |= {line.strip() for line in secret.splitlines() if len(line.strip().encode()) >= MIN_LINE_BYTES}
    for text in list(said):
        raw = text.encode("utf-8", "surrogateescape")
        said |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        said |= {quote(raw), quote(raw, safe=""), quote_plus(raw), shlex.quote(text)}
        encoded = base64.b64encode(raw).decode()
        said |= {encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")}
    return {text.encode("utf-8", "surrogateescape") for text in said if text}


class Masker:
    """Put `***` in place of every byte that belongs to an occurrence of a pattern, overlapping ones included.

    What may be the beginning of a pattern is held back until more comes or `flush` is called, so the output
    does not depend on how the stream was cut into chunks.
    """

    def __init__(self, patterns: Iterable[bytes]):
        self._patterns = sorted(pattern for pattern in set(patterns) if pattern)
        self._held = b""
        self._covered = 0  # so many bytes of what is held belong to an occurrence that began before it
        self._is_masking = False  # the last byte that went out was masked

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk and give what can be told for certain."""
        if not self._patterns:
            return chunk
        buffer = self._held + chunk
        keep_from = min(_unfinished(buffer, pattern) for pattern in self._patterns)
        spans = self._spans(buffer)
        shown = self._masked(buffer[:keep_from], spans)
        self._held = buffer[keep_from:]
        # What begins in the held part is found again; what began before it must be remembered.
        self._covered = max([0, *(end - keep_from for start, end in spans if start < keep_from)])
        return shown

    def flush(self) -> bytes:
        """Give the rest; a secret that was begun and never ended is masked as far as it goes."""
        buffer, spans = self._held, self._spans(self._held)
        if self._patterns and buffer:
            begun = min(_unfinished(buffer, pattern) for pattern in self._patterns)
            if len(buffer) - begun >= MIN_CUT_BYTES:
                spans.append((begun, len(buffer)))
        self._held, self._covered = b"", 0
        return self._masked(buffer, spans)

    def _spans(self, buffer: bytes) -> list[tuple[int, int]]:
        spans = [(-1, self._covered)] if self._covered else []  # it began before
        for pattern in self._patterns:
            spans += _occurrences(buffer, pattern)
        return spans

    def _masked(self, data: bytes, spans: list[tuple[int, int]]) -> bytes:
        out, at = [], 0
        for start, end in sorted(spans):
            start, end = max(start, at), min(end, len(data))
            if start >= end:
                continue
            if start > at:
                out.append(data[at:start])
                self._is_masking = False
            if not self._is_masking:
                out.append(MASK)
                self._is_masking = True
            at = end
        if at < len(data):
            out.append(data[at:])
            self._is_masking = False
        return b"".join(out)


def _occurrences(buffer: bytes, pattern: bytes) -> list[tuple[int, int]]:
    """List the spans that occurrences of a pattern cover; those that overlap make one."""
    spans, size = [], len(pattern)
    start = buffer.find(pattern)
    while start != -1:
        end = start + size
        # The last that begins inside or right behind: what a pattern overlaps itself with is found in few steps.
        while (last := buffer.rfind(pattern, end - size + 1, end + size)) != -1:
            end = last + size
        spans.append((start, end))
        start = buffer.find(pattern, end)
    return spans


def _unfinished(buffer: bytes, pattern: bytes) -> int:
    """Find where the longest beginning of the pattern starts with which the buffer ends; its length when none does."""
    first = max(0, len(buffer) - len(pattern) + 1)
    head = pattern[:_HEAD]
    start = buffer.find(head, first)
    while start != -1:
        if pattern.startswith(buffer[start:]):
            return start
        start = buffer.find(head, start + 1)
    for start in range(max(first, len(buffer) - len(head) + 1), len(buffer)):
        if pattern.startswith(buffer[start:]):
            return start
    return len(buffer)
