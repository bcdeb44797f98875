"""Read an address that somebody wrote, and refuse it unless everything that its name stands for is public."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import idna

from gaas.lib.errors import DomainError
from gaas.lib.net.addresses import Address, Network, is_global, is_let_in, own_addresses

MAX_LENGTH = 2000
RESOLVE_SECONDS = 5.0
# RFC 3986, and nothing that another reader might take for something else: no backslash, blank or control character.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#\\]*)(?P<rest>[/?][!-~]*)?", re.ASCII | re.DOTALL
)
_UNSAFE = re.compile(r'[^!-~]|[\\"<>^`{|}]', re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)

Resolver = Callable[[str, int], Sequence[str]]


class AddressRefused(DomainError):
    """Refuse to call an address; the sentence tells what to write, and nothing of the network inside."""

    code = "url_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, attr="url")


@dataclass(frozen=True)
class Target:
    """Hold an address taken apart, and what its name stood for when it was checked: connect to these and no others."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"https": 443, "http": 80}


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, no longer than RESOLVE_SECONDS. Raises OSError.

    In a thread of its own, since nothing can interrupt the call; one that goes on ends by the resolver's own limits.
    """
    found: list[str] = []
    problems: list[OSError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as problem:
            problems.append(problem if isinstance(problem, OSError) else OSError(str(problem)))
            return
        for family, _, _, _, where in answers:
            if family in (socket.AF_INET, socket.AF_INET6):
                zone = where[3] if len(where) > 3 else 0
                found.append(f"{where[0]}%{zone}" if zone and "%" not in str(where[0]) else str(where[0]))

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if thread.is_alive():
        raise TimeoutError("The name was not resolved in time.")
    if problems:
        raise problems[0]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Guard:
    """Hold what may be called: https everywhere, http where it is allowed, and of inner networks those that are named.

    `ca_file` names certificates of authorities to believe besides the usual ones; `resolve` is for whoever has a
    resolver of their own.
    """

    networks: tuple[Network, ...] = ()
    is_http_allowed: bool = False
    ca_file: str = ""
    resolve: Resolver = resolve

    def read(self, url: str) -> Target:
        """Take an address apart, asking nobody. Raises AddressRefused for what is not plainly one that may be."""
        if not isinstance(url, str) or len(url) > MAX_LENGTH:
            raise AddressRefused(f"An address has at most {MAX_LENGTH} characters.")
        parts = _URL.fullmatch(url.partition("#")[0])
        if parts is None or _UNSAFE.search(parts["rest"] or ""):
            raise AddressRefused("Write a whole address such as https://example.org/hook, without blanks.")
        scheme, authority = parts["scheme"].lower(), parts["authority"]
        if scheme not in ("https", "http") or (scheme == "http" and not self.is_http_allowed):
            raise AddressRefused("The address begins with https://.")
        if "@" in authority:
            raise AddressRefused("Leave name and password out of the address.")
        name, port = _split(authority)
        host = _host(name)
        rest = parts["rest"] or "/"
        target = Target(scheme, host, _port(port, scheme), rest if rest.startswith("/") else f"/{rest}")
        literal = _address(host)
        if literal is not None and not self._may(literal):
            raise self._not_public()
        return target

    def check(self, url: str) -> Target:
        """Read an address and resolve its name. Raises AddressRefused where any of its addresses leads inside."""
        target = self.read(url)
        literal = _address(target.host)
        addresses = [literal] if literal is not None else self._resolved(target)
        # One public address among others does not make the others harmless: a name is refused whole.
        if not addresses or not all(self._may(address) for address in addresses):
            raise self._not_public()
        return Target(target.scheme, target.host, target.port, target.path, tuple(map(str, addresses)))

    def _resolved(self, target: Target) -> list[Address]:
        if target.host == "localhost" or target.host.endswith(".localhost"):
            # RFC 6761: whatever a resolver says.
            return [ipaddress.ip_address("127.0.0.1")]
        try:
            return [ipaddress.ip_address(text) for text in self.resolve(target.host, target.port)]
        except (OSError, ValueError):
            return []

    def _may(self, address: Address) -> bool:
        if is_let_in(address, self.networks):
            return True
        return is_global(address) and str(address) not in own_addresses()

    def _not_public(self) -> AddressRefused:
        # The same for a name that nothing has: else one could ask which names there are inside.
        return AddressRefused("This address does not lead to the public internet. Give one that anybody can reach.")


def _split(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise AddressRefused("Write an IPv6 address in brackets.")
        return f"{host}]", port[1:] if port else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    port = int(text) if _PORT.fullmatch(text) else 0
    # Below are the doors of other trades: mail, log-ins, files.
    if port not in (443, 80 if scheme == "http" else 443) and not 1024 <= port <= 65535:
        raise AddressRefused("Use port 443, or one from 1024 to 65535.")
    return port


def _host(text: str) -> str:
    """Give a host the one way it is written: an address, or a name in lower-case ASCII without a dot at its end."""
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1] if "%" not in text else ""))
        except ValueError:
            raise AddressRefused("The IPv6 address is none, or names a zone.") from None
    name = text
    if not text.isascii():
        try:
            name = idna.encode(text, uts46=True, std3_rules=True, transitional=False).decode()
        except idna.IDNAError:
            raise AddressRefused("The host's name cannot be written for the internet.") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("The host's name has letters, digits, dashes and dots.")
    if any(label.startswith("xn--") for label in labels):
        try:
            idna.decode(name, uts46=False)
        except idna.IDNAError:
            raise AddressRefused("The host's name is no name of the internet.") from None
    if _NUMBER.fullmatch(labels[-1]):
        # Some take 127.1, 0x7f000001, 2130706433 and 0177.0.0.1 for addresses: there is one spelling here.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AddressRefused("Write an IPv4 address as four decimal numbers.") from None
    return name


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
