"""Which addresses of the internet are everybody's, and which lead inside: arithmetic without a socket."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import psutil

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# The machine itself, its links, and where clouds keep the keys of their machines. A network that an operator lets in
# lets none of these in by merely containing it: it has to be one of them, or a part of one.
NAMED_ALONE = _networks(
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "100.100.100.200/32",  # Alibaba's metadata, in the addresses of carriers
    "168.63.129.16/32",  # Azure's, which looks like everybody's
    "192.0.0.192/32",  # Oracle's
    "::/128",
    "::1/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::/32",  # Amazon's
    "fd20:ce::/32",  # Google's
)
# IANA's special-purpose registries (RFC 6890 and its successors), in full: what ipaddress knows of them differs from
# one Python to the next.
_SPECIAL = (
    *NAMED_ALONE,
    *_networks(
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    ),
)
# All else of IPv6 is none, or carries an IPv4 address: mapped, compatible, translated (64:ff9b::).
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


def is_global(address: Address) -> bool:
    """Tell whether an address is one of the public internet, by any spelling of it and none that hides another."""
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address not in _GLOBAL_V6):
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


def is_let_in(address: Address, networks: Iterable[Network]) -> bool:
    """Tell whether an operator's networks name an address; see NAMED_ALONE."""
    if getattr(address, "scope_id", None):
        return False
    special = [network for network in NAMED_ALONE if address in network]
    return any(address in network and all(_is_within(network, block) for block in special) for network in networks)


def own_addresses() -> frozenset[str]:
    """List the addresses of this machine: public ones lead inside, too."""
    return frozenset(item.address.partition("%")[0] for items in psutil.net_if_addrs().values() for item in items)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read what a setting lists. Raises ValueError for what is no network."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip())


def _is_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
