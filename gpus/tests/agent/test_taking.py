"""Files out of a folder that a program wrote: plain ones, and nothing that leads elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from gpus.agent import taking


def scan(folder, **limits):
    given = {"most_files": 100, "most_bytes": 1000, "wanted": lambda name: True, "check": lambda: None}
    return taking.scan(folder, **{**given, **limits})


def names(found):
    return [file.name for file in found.files]


class TestScan:
    def test_it_finds_plain_files(self, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "a.bin").write_bytes(b"abc")
        (tmp_path / "b").write_bytes(b"")
        found = scan(tmp_path)
        assert [(file.name, file.size) for file in found.files] == [("b", 0), ("model/a.bin", 3)]
        assert found.note() == ""

    def test_links_are_not_followed(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_text("s")
        box = tmp_path / "box"
        box.mkdir()
        (box / "file").symlink_to(outside / "secret")
        (box / "folder").symlink_to(outside)
        (box / "up").symlink_to("..")
        found = scan(box)
        assert names(found) == []
        assert found.note().count("link") == 1
        assert "file" in found.note()
        assert "folder" in found.note()

    def test_pipes_sockets_and_devices_are_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
        if os.geteuid() == 0:
            with contextlib.suppress(PermissionError):
                os.mknod(tmp_path / "device", 0o20666, os.makedev(1, 3))
        found = scan(tmp_path)
        assert names(found) == []
        assert "no plain file" in found.note()

    def test_what_is_too_large_is_not_read(self, tmp_path):
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(10 * 2**40)
        assert "larger" in scan(tmp_path, most_bytes=2**30).note()

    def test_what_is_all_holes_is_not_read_either(self, tmp_path):
        with (tmp_path / "empty").open("wb") as file:
            file.truncate(10 * 2**30)
        with (tmp_path / "two-ends").open("wb") as file:
            file.write(b"head")
            file.seek(10 * 2**30)
            file.write(b"tail")
        with (tmp_path / "few").open("wb") as file:
            file.truncate(taking.MAX_HOLES_BYTES)
        found = scan(tmp_path, most_bytes=2**40)
        assert names(found) == ["few"]
        assert "256 MiB of it were never written" in found.note()

    def test_all_together_are_bounded_by_what_a_reader_would_find(self, tmp_path):
        for name in "abc":
            with (tmp_path / name).open("wb") as file:
                file.truncate(2 << 20)
        found = scan(tmp_path, most_bytes=2**30, most_in_all=5 << 20)
        assert len(found.files) == 2
        assert "together they are larger than 5 MiB" in found.note()

    def test_so_many_are_taken_and_the_rest_counted(self, tmp_path):
        for number in range(30):
            (tmp_path / f"{number:02}").touch()
        found = scan(tmp_path, most_files=10)
        assert len(found.files) == 10
        assert "and 17 more: at most 10 files are kept." in found.note()

    def test_a_hundred_thousand_are_counted(self, tmp_path):
        fd = os.open(tmp_path, os.O_RDONLY)
        for number in range(100_000):
            os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        found = scan(tmp_path, most_files=1000)
        assert len(found.files) == 1000
        assert "and 98997 more: at most 1000 files are kept." in found.note()

    def test_more_than_can_be_looked_at_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setattr(taking, "MAX_SCANNED", 20)
        for number in range(30):
            (tmp_path / f"{number}").touch()
        assert "more than 20" in scan(tmp_path).note()

    @pytest.mark.parametrize("name", ["back\\slash", "new\nline", "nul", "dot.", " blank", "\u202ename"])
    def test_names_that_no_other_system_takes_are_left_out(self, tmp_path, name):
        (tmp_path / name).touch()
        found = scan(tmp_path)
        assert names(found) == []
        assert "name is not taken" in found.note()
        assert "\n" not in found.note()

    def test_names_that_are_no_text_are_left_out(self, tmp_path):
        os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
        found = scan(tmp_path)
        assert names(found) == []
        found.note().encode()

    def test_of_two_that_differ_in_case_one_is_taken(self, tmp_path):
        (tmp_path / "Model").touch()
        (tmp_path / "model").touch()
        found = scan(tmp_path)
        assert len(found.files) == 1
        assert "told from another" in found.note()

    def test_a_deep_tree_ends(self, tmp_path):
        deep = tmp_path
        for _ in range(40):
            deep = deep / "d"
            deep.mkdir()
        (deep / "x").touch()
        assert "deeper" in scan(tmp_path).note()

    def test_a_folder_that_is_a_link_itself_is_not_entered(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "secret").touch()
        (tmp_path / "box").symlink_to(tmp_path / "real")
        found = scan(tmp_path / "box")
        assert names(found) == []
        assert "cannot be read" in found.note()


class TestDigest:
    @pytest.fixture
    def found(self, tmp_path):
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "a").write_bytes(b"abc")
        return scan(tmp_path).files[0]

    def test_it_reads_the_bytes(self, tmp_path, found):
        named = taking.digest(tmp_path, found, lambda: None)
        assert (named.name, named.size) == ("d/a", 3)
        assert named.sha256.startswith("ba7816bf")

    def test_another_file_under_the_name_is_noticed(self, tmp_path, found):
        (tmp_path / "d" / "a").unlink()
        (tmp_path / "d" / "a").write_bytes(b"abd")
        with pytest.raises(taking.Changed):
            taking.digest(tmp_path, found, lambda: None)

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_a_link_that_took_its_place_is_noticed(self, tmp_path, found, what):
        target = tmp_path / "d" / "a" if what == "file" else tmp_path / "d"
        target.rename(tmp_path / "moved")
        target.symlink_to(tmp_path / "moved")
        with pytest.raises(taking.Changed):
            taking.digest(tmp_path, found, lambda: None)
