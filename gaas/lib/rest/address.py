"""Whose address a request has, where proxies of known number stand in front."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings


def client_address(meta: Mapping[str, Any]) -> str:
    """Give the client's address, or "" where the server knows none (a Unix socket without a proxy).

    With TRUSTED_PROXIES = 0 X-Forwarded-For is the client's own words and is not read. With N, the N-th
    entry from the right is what the outermost trusted proxy saw. Fewer entries, or one that is no
    address, mean that the request came past the proxies: then the peer is the client.
    """
    peer = _plain(str(meta.get("REMOTE_ADDR") or ""))
    proxies = settings.TRUSTED_PROXIES
    if proxies <= 0:
        return peer
    entries = str(meta.get("HTTP_X_FORWARDED_FOR") or "").split(",")
    if len(entries) < proxies:
        return peer
    return _plain(entries[-proxies]) or peer


def address_group(address: str) -> str:
    """Give the key under which an address is counted: an IPv6 customer has a whole /64 to send from."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 6:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _plain(text: str) -> str:
    """Read "1.2.3.4", "1.2.3.4:80", "[::1]:80" or "::1"; "" where it is no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if ip.version == 6 and ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ip)
