"""A mail server over real SMTP on loopback (RFC 5321, what a plain client needs) that keeps all letters."""

from __future__ import annotations

import email
import email.policy
import re
import socketserver
import threading
from email.message import EmailMessage
from typing import Self

from tests.systems.people import PATIENCE_SECONDS, eventually


class PostOffice:
    """Take every letter; give those to an address."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, EmailMessage]] = []
        office = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 post office")
                to: list[str] = []
                while line := self.rfile.readline().decode().strip():
                    verb = line[:4].upper()
                    if verb == "QUIT":
                        self.say("221 bye")
                        return
                    if verb == "RCPT":
                        to.append(re.search(r"<([^>]*)>", line)[1])  # type: ignore[index]
                    if verb == "DATA":
                        self.say("354 go on")
                        lines = []
                        while (line_ := self.rfile.readline()) != b".\r\n":
                            lines.append(line_.removeprefix(b".") if line_.startswith(b"..") else line_)
                        letter = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                        office.letters += [(one, letter) for one in to]  # type: ignore[list-item]
                        to = []
                    self.say("250 ok")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk)
        self._server.daemon_threads = True
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def link(self, to: str, part: str) -> str:
        """Wait for a letter to an address with a link that has `part` in it; gives the link of the newest."""

        def look() -> str | None:
            for one, letter in reversed(self.letters):
                found = re.search(rf"http\S*{re.escape(part)}\S*", letter.get_content())
                if one == to and found:
                    return found[0]
            return None

        link: str = eventually(PATIENCE_SECONDS, f"a letter to {to} with {part}", look)
        return link
