"""Files that were fetched before, held against their digest each time."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from gpus.agent.cache import Cache, WrongBytes

DATA = bytes(range(256)) * 100
SHA256 = hashlib.sha256(DATA).hexdigest()


class Source:
    """Give bytes from an offset, and count how often."""

    def __init__(self, data=DATA):
        self.data, self.asked = data, []

    def __call__(self, offset):
        self.asked.append(offset)
        for start in range(offset, len(self.data), 1000):
            yield self.data[start : start + 1000]


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 1 << 20)


def place(cache, target, source, *, may_link=False, check=lambda: None, data=DATA):
    cache.place(hashlib.sha256(data).hexdigest(), len(data), target, source, may_link=may_link, check=check)


class TestPlace:
    def test_it_fetches_once(self, cache, tmp_path):
        source = Source()
        for name in ("a", "b"):
            place(cache, tmp_path / name, source)
            assert (tmp_path / name).read_bytes() == DATA
        assert source.asked == [0]

    def test_a_copy_is_the_programs_own(self, cache, tmp_path):
        source = Source()
        place(cache, tmp_path / "a", source)
        (tmp_path / "a").write_bytes(b"poison")
        place(cache, tmp_path / "b", source)
        assert (tmp_path / "b").read_bytes() == DATA
        assert source.asked == [0]

    def test_a_link_costs_no_room(self, cache, tmp_path):
        place(cache, tmp_path / "a", Source(), may_link=True)
        assert (tmp_path / "a").stat().st_nlink == 2
        assert (tmp_path / "a").stat().st_mode & 0o222 == 0

    def test_what_was_spoilt_is_fetched_anew(self, cache, tmp_path):
        source = Source()
        place(cache, tmp_path / "a", source)
        kept = cache.folder / SHA256
        kept.chmod(0o644)
        kept.write_bytes(DATA[:-1] + b"x")
        place(cache, tmp_path / "b", source)
        assert (tmp_path / "b").read_bytes() == DATA
        assert source.asked == [0, 0]

    def test_it_goes_on_where_it_was_cut_off(self, cache, tmp_path):
        def cut(offset):
            yield DATA[:3000]
            raise ConnectionError

        with pytest.raises(ConnectionError):
            place(cache, tmp_path / "a", cut)
        source = Source()
        place(cache, tmp_path / "a", source)
        assert source.asked == [3000]
        assert (tmp_path / "a").read_bytes() == DATA

    @pytest.mark.parametrize("wrong", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x" * 5, b""])
    def test_other_bytes_are_never_given(self, cache, tmp_path, wrong):
        source = Source(wrong)
        if wrong.startswith(DATA):
            place(cache, tmp_path / "a", source)
            assert (tmp_path / "a").read_bytes() == DATA
            return
        with pytest.raises(WrongBytes):
            place(cache, tmp_path / "a", source)
        assert len(source.asked) == 2
        assert not (tmp_path / "a").exists()
        assert list(cache.folder.iterdir()) == []

    @pytest.mark.parametrize("sha256", ["../../etc/passwd", "", "A" * 64, "0" * 63])
    def test_what_is_no_digest_is_no_name(self, cache, tmp_path, sha256):
        with pytest.raises(WrongBytes):
            cache.place(sha256, 1, tmp_path / "a", Source(), may_link=False, check=lambda: None)

    def test_sixteen_at_once_fetch_once(self, cache, tmp_path):
        source = Source()
        threads = [threading.Thread(target=place, args=(cache, tmp_path / str(n), source)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert source.asked == [0]
        assert all((tmp_path / str(n)).read_bytes() == DATA for n in range(16))


class TestRoom:
    def test_what_was_not_used_longest_goes_first(self, tmp_path):
        cache = Cache(tmp_path / "cache", 250)
        files = {name: name.encode() * 100 for name in "abc"}
        for age, (name, data) in enumerate(files.items()):
            place(cache, tmp_path / name, Source(data), data=data)
            os.utime(cache.folder / hashlib.sha256(data).hexdigest(), (age, age))
            if name == "b":
                place(cache, tmp_path / "again", Source(files["a"]), data=files["a"])
        kept = {path.name for path in cache.folder.iterdir()}
        assert kept == {hashlib.sha256(files[name]).hexdigest() for name in "ac"}

    def test_what_is_larger_than_all_is_used_and_not_kept(self, tmp_path):
        cache = Cache(tmp_path / "cache", 10)
        place(cache, tmp_path / "a", Source())
        assert (tmp_path / "a").read_bytes() == DATA
        assert list(cache.folder.iterdir()) == []
