"""A wire that can be cut: it carries TCP from a port of its own to a peer, until told not to."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.peers import free_port


class Relay:
    """Carry connections to a port of this machine. While cut, no connection lives and new ones are refused.

    Those whose first bytes are `prefix` go to the port `elsewhere`, as by a front that knows two servers.
    """

    def __init__(self, to: int, *, prefix: bytes = b"", elsewhere: int = 0) -> None:
        self.to, self.port = to, free_port()
        self._prefix, self._elsewhere = prefix, elsewhere
        self._bound = self._bind()
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.mend()

    def _bind(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self.port))
        return bound

    def mend(self) -> None:
        """Carry from now on."""
        self._bound.listen(64)
        self._listener = self._bound
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End what there is and refuse what comes."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._ends = self._ends, set()
        if listener is not None:
            # shutdown, since a close alone leaves the thread in accept() and the port with it.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            # Taken though nobody listens there, so that no caller can be given it, and so be connected to itself.
            self._bound = self._bind()
        for end in ends:
            _close(end)

    def end(self) -> None:
        """Cut it for good and give the port back."""
        self.cut()
        self._bound.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            with contextlib.suppress(OSError):
                near, _ = listener.accept()
                threading.Thread(target=self._connect, args=(listener, near), daemon=True).start()

    def _connect(self, listener: socket.socket, near: socket.socket) -> None:
        if not self._keep(listener, near):
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._port_for(near)), timeout=5)
        except OSError:
            self._drop(near)
            return
        far.settimeout(None)
        if not self._keep(listener, far):
            return
        threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
        for end in (near, far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._carry(near, far)

    def _port_for(self, near: socket.socket) -> int:
        if not self._prefix:
            return self.to
        # Nothing that speaks HTTP sends less than its first line at once.
        return self._elsewhere if near.recv(len(self._prefix), socket.MSG_PEEK) == self._prefix else self.to

    def _keep(self, listener: socket.socket, end: socket.socket) -> bool:
        """Remember an end until the cut; one that comes after the cut is closed."""
        with self._lock:
            if self._listener is listener:
                self._ends.add(end)
                return True
        _close(end)
        return False

    def _drop(self, end: socket.socket) -> None:
        _close(end)
        with self._lock:
            self._ends.discard(end)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            self._drop(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
