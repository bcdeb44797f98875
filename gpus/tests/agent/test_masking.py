"""No byte of a secret passes, however the stream is cut; all else does, unchanged."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpus.agent.masking import MASK, Masker, spellings

# Of few letters, so that secrets overlap each other and themselves.
words = st.binary(min_size=1, max_size=6).map(lambda raw: bytes(b"ab\n"[byte % 3] for byte in raw))


@st.composite
def a_stream(draw):
    secrets = draw(st.lists(words, min_size=1, max_size=4))
    pieces = draw(st.lists(st.sampled_from(secrets) | words, max_size=12))
    return secrets, pieces


def _reference(data: bytes, secrets: list[bytes]) -> bytes:
    """Mask a whole text by the definition: every byte of every occurrence, runs of them once."""
    covered = [False] * len(data)
    for secret in secrets:
        for start in range(len(data)):
            if data.startswith(secret, start):
                covered[start : start + len(secret)] = [True] * len(secret)
    out = b""
    for at, byte in enumerate(data):
        if not covered[at]:
            out += bytes([byte])
        elif at == 0 or not covered[at - 1]:
            out += MASK
    return out


class TestMasker:
    @settings(max_examples=500)
    @given(a_stream())
    def test_it_masks_the_same_however_the_stream_is_cut(self, stream):
        secrets, pieces = stream
        end = b"#"  # no beginning of a secret, so that nothing is cut off there
        masker = Masker(secrets)
        shown = b"".join([masker.feed(piece) for piece in pieces]) + masker.feed(end) + masker.flush()
        assert shown == _reference(b"".join(pieces) + end, secrets)

    @settings(max_examples=300)
    @given(a_stream())
    def test_no_secret_and_no_cut_one_is_in_what_passes(self, stream):
        secrets, pieces = stream
        masker = Masker(secrets)
        shown = b"".join([masker.feed(piece) for piece in pieces]) + masker.flush()
        for part in shown.split(MASK):
            assert not any(secret in part for secret in secrets)
        longest = max(secrets, key=len)
        if len(longest) > 4:
            cut = Masker([longest])
            assert longest[:-1] not in cut.feed(longest[:-1]) + cut.flush()

    @given(st.lists(st.binary(max_size=20), max_size=20))
    def test_what_holds_no_secret_passes_unchanged(self, pieces):
        masker = Masker([b"\x00never\x00in\x00it" * 3])
        assert b"".join([masker.feed(piece) for piece in pieces]) + masker.flush() == b"".join(pieces)

    def test_it_holds_back_no_more_than_what_may_be_a_secret(self):
        masker = Masker([b"hunter2"])
        assert masker.feed(b"a line\n") == b"a line\n"
        assert masker.feed(b"it is hunt") == b"it is "
        assert masker.feed(b"ing time\n") == b"hunting time\n"

    def test_without_secrets_it_is_not_there(self):
        assert Masker([]).feed(b"x") == b"x"

    def test_a_secret_that_repeats_itself_costs_no_more_than_another(self):
        """Two thousand steps of a million bytes each, unless runs are taken as one."""
        masker = Masker([b"a" * 2000])
        assert masker.feed(b"a" * 1_000_000) + masker.flush() == MASK


class TestSpellings:
    @pytest.mark.parametrize(
        "secret", ["p@ss w/rd\"é'", "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n", " x y "]
    )
    def test_it_knows_how_programs_write_a_secret(self, secret):
        known = spellings(secret)
        raw = secret.encode()
        for written in (raw, base64.b64encode(raw), json.dumps(secret)[1:-1].encode(), quote(secret).encode()):
            assert written in known

    def test_it_takes_each_long_line_of_a_key(self):
        known = spellings("-----BEGIN KEY-----\nMIIEvQIBADAN\n}\n")
        assert b"MIIEvQIBADAN" in known
        assert b"}" not in known
