import os

import pytest

from gpus.agent.protocol import MAX_RESULT_BYTES
from gpus.agent.results import BadResult, parse, read


class TestParse:
    def test_it_takes_any_json(self):
        assert parse(b'{"a": [1, 2.5, null, "\xc3\xa4"]}') == {"a": [1, 2.5, None, "ä"]}
        assert parse(b"3") == 3

    def test_it_refuses_what_the_server_would_refuse(self):
        for bad in (
            b"", b"{", b"NaN", b"[Infinity]", b"[1e999]", b'{"a": 1, "a": 2}', b'["\\u0000"]', b'["\\ud800"]',
            b"1" * 5000, b"[" * 60_000, b"[" * 100 + b"]" * 100, b"\xff",
        ):  # fmt: skip
            with pytest.raises(BadResult, match="was not taken"):
                parse(bad)


class TestRead:
    def test_it_reads_the_file(self, tmp_path):
        (tmp_path / "result.json").write_text('{"a": 1}')
        assert read(tmp_path) == {"a": 1}

    def test_it_answers_none_without_one(self, tmp_path):
        assert read(tmp_path) is None

    def test_it_refuses_what_is_no_plain_file(self, tmp_path):
        (tmp_path / "result.json").symlink_to("/etc/hostname")
        with pytest.raises(BadResult, match="link"):
            read(tmp_path)
        (tmp_path / "result.json").unlink()
        os.mkfifo(tmp_path / "result.json")
        with pytest.raises(BadResult, match="plain file"):
            read(tmp_path)
        (tmp_path / "result.json").unlink()
        (tmp_path / "result.json").mkdir()
        with pytest.raises(BadResult, match="plain file"):
            read(tmp_path)

    def test_it_refuses_a_folder_that_is_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real/result.json").write_text("1")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert read(tmp_path / "real") == 1
        with pytest.raises(BadResult, match="link"):
            read(tmp_path / "link")

    def test_it_refuses_a_large_one(self, tmp_path):
        (tmp_path / "result.json").write_bytes(b'"' + b"x" * (MAX_RESULT_BYTES - 2) + b'"')
        assert len(read(tmp_path)) == MAX_RESULT_BYTES - 2
        (tmp_path / "result.json").write_bytes(b'"' + b"x" * MAX_RESULT_BYTES + b'"')
        with pytest.raises(BadResult, match="larger than 64 KiB"):
            read(tmp_path)
