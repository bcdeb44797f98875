"""The frames of the relay, and the way from it to a program's socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gpus.agent import frames
from gpus.agent.relays import NoService, connect_to


class TestFrames:
    @pytest.mark.parametrize("kind", sorted(frames.KINDS))
    def test_they_come_back_as_they_went(self, kind: int) -> None:
        assert frames.unpack(frames.pack(kind, 2**32 - 1, b"\0body")) == (kind, 2**32 - 1, b"\0body")

    def test_a_credit_is_a_number(self) -> None:
        _, id_, payload = frames.unpack(frames.credit(7, 65_536))
        assert (id_, frames.credit_of(payload)) == (7, 65_536)

    @pytest.mark.parametrize(
        "message",
        [b"", b"\1\0\0", "text", None, b"\0\0\0\0\1", b"\x63\0\0\0\1", b"\2" + bytes(frames.MAX_FRAME)],
        ids=["empty", "short", "text", "none", "kind 0", "kind 99", "long"],
    )
    def test_what_is_none_is_refused(self, message: object) -> None:
        with pytest.raises(frames.BadFrame):
            frames.unpack(message)

    def test_headers_of_one_connection_stay_behind(self) -> None:
        headers = [("Connection", "close, X-Mine"), ("x-mine", "1"), ("TE", "trailers"), ("Accept", "*/*")]
        assert frames.end_to_end(headers) == [("Accept", "*/*")]


class TestConnectTo:
    def test_it_reaches_a_socket_however_long_its_path_is(self, tmp_path: Path) -> None:
        folder = tmp_path / ("x" * 120)
        folder.mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            fd = os.open(folder, os.O_PATH)
            listening.bind(f"/proc/self/fd/{fd}/http")
            os.close(fd)
            listening.listen()
            with connect_to(folder / "http") as connected:
                connected.sendall(b"hello")
                assert listening.accept()[0].recv(5) == b"hello"

    def test_it_follows_no_link_to_another_socket(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "docker.sock"))
            listening.listen()
            (tmp_path / "http").symlink_to(tmp_path / "docker.sock")
            with pytest.raises(NoService):
                connect_to(tmp_path / "http")

    def test_what_is_no_socket_is_no_service(self, tmp_path: Path) -> None:
        with pytest.raises(NoService):
            connect_to(tmp_path / "http")
        (tmp_path / "http").write_text("")
        with pytest.raises(NoService):
            connect_to(tmp_path / "http")
