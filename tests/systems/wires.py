"""Networks of a test's own: one that the tests are in with the servers, one for each host, and a wire to each."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.peers import Missing

CLONE_NEWNET = 0x40000000
SERVER = "10.77.0.1"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command)}: {done.stderr.strip()[-200:]}")


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET):
            raise Missing(f"setns: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


class Wire:
    """The wire between the servers' network and a host's: whole, cut, deaf on one side, or slow."""

    def __init__(self, home: str, number: int) -> None:
        self._home, self._away = home, f"{home}-{number}"
        self.near, self.far = f"gn{number}", f"gf{number}"
        _run("ip", "netns", "add", self._away)
        _run("ip", "link", "add", self.near, "netns", home, "type", "veth", "peer", self.far, "netns", self._away)
        for where, name, side in ((home, self.near, 1), (self._away, self.far, 2)):
            _run("ip", "-n", where, "addr", "add", f"10.77.{number}.{side}/24", "dev", name)
            _run("ip", "-n", where, "link", "set", name, "up")
        _run("ip", "-n", self._away, "link", "set", "lo", "up")
        self._gateway = f"10.77.{number}.1"
        self._route()

    def inside(self) -> list[str]:
        """Give what stands before a command that is to run at the far end."""
        return ["nsenter", f"--net=/run/netns/{self._away}"]

    def cut(self) -> None:
        _run("ip", "-n", self._home, "link", "set", self.near, "down")

    def mend(self) -> None:
        """Carry everything again, at full speed."""
        _run("ip", "-n", self._home, "link", "set", self.near, "up")
        self._route()
        for where, name in ((self._home, self.near), (self._away, self.far)):
            self._in(
                where, f"tc qdisc del dev {name} root 2>/dev/null; nft delete table inet deaf_{name} 2>/dev/null; :"
            )

    def lose_what_the_host_sends(self) -> None:
        self._deafen(self._home, self.near)

    def lose_what_the_server_sends(self) -> None:
        self._deafen(self._away, self.far)

    def slow_down(self, kbit: int) -> None:
        """Let so much through each way, and keep what waits for a second at the most."""
        for where, name in ((self._home, self.near), (self._away, self.far)):
            self._in(where, f"tc qdisc add dev {name} root tbf rate {kbit}kbit burst 3kb latency 1s")

    def _deafen(self, where: str, name: str) -> None:
        # Where it arrives: dropped before it is sent, it would be an error to the sender and no loss.
        rules = f"add table inet deaf_{name}; add chain inet deaf_{name} c {{ type filter hook input priority 0; }}; "
        self._in(where, f"nft '{rules} add rule inet deaf_{name} c iifname {name} drop'")

    def _route(self) -> None:
        _run("ip", "-n", self._away, "route", "replace", "default", "via", self._gateway)

    def _in(self, where: str, command: str) -> None:
        _run("nsenter", f"--net=/run/netns/{where}", "sh", "-c", command)


@contextmanager
def wired(hosts: int) -> Iterator[list[Wire]]:
    """Move this thread, and so all that it starts, into a network of its own with a wire to each host's.

    Servers listen on SERVER there. Raises Missing where one may not.
    """
    if os.geteuid() != 0:
        raise Missing("networks are made by root")
    for tool in ("ip", "nsenter", "nft", "tc"):
        if shutil.which(tool) is None:
            raise Missing(f"no {tool} on this machine")
    home, before = f"gaas-{secrets.token_hex(3)}", os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _run("ip", "netns", "add", home)
    try:
        _run("ip", "-n", home, "link", "set", "lo", "up")
        _run("ip", "-n", home, "addr", "add", f"{SERVER}/32", "dev", "lo")
        wires = [Wire(home, number) for number in range(1, hosts + 1)]
        _enter(f"/run/netns/{home}")
        yield wires
    finally:
        _enter(f"/proc/self/fd/{before}")
        os.close(before)
        for name in [home, *(f"{home}-{number}" for number in range(1, hosts + 1))]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
