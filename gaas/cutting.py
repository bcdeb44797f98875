"""Cut a client's connection off, where it takes nothing and the server would keep it open until it does.

An application of ASGI can only stop to send. What is on its way then, in the server and in the kernel, waits for the
client: some megabytes and a descriptor for each, for as long as the client likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Any

# Close by a reset: what was not taken is thrown away with the connection.
_AT_ONCE = struct.pack("ii", 1, 0)


async def cut(scope: dict[str, Any]) -> None:
    """Cut the connection of an HTTP request off; one that is gone already, or comes by no address, is left alone."""
    client = scope.get("client")
    if client and client[1]:
        # In a thread: with thousands of descriptors it takes milliseconds to find the one.
        await asyncio.get_running_loop().run_in_executor(None, _cut, (str(client[0]), int(client[1])))


def _cut(client: tuple[str, int]) -> None:
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            # A descriptor of our own: the server may close its own at any moment, and the number be another's then.
            found = socket.socket(fileno=os.dup(int(name)))
            with found:
                # A connection from here to elsewhere has its peer's address, too, but not a client's port.
                if found.type == socket.SOCK_STREAM and found.getpeername()[:2] == client:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    found.shutdown(socket.SHUT_RDWR)
                    return
