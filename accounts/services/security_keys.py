"""Where security keys work: at the address of BASE_URL alone, whatever host a request names.

WebAuthn level 2: 5.1.2 (the name a key is bound to), 7.1 and 7.2 (the origin that its answer names).
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from fido2.utils import websafe_decode

LONGEST_SHOWN = 200


def origin() -> str:
    """Give the one origin whose pages may ask for a key; empty where BASE_URL is a number, which browsers refuse.

    A loopback address has a name that every browser knows.
    """
    base = urlsplit(settings.BASE_URL)
    name = _name()
    return _origin_of(base._replace(netloc=name + (f":{base.port}" if base.port else ""))) if name else ""


def rp_id() -> str:
    """Give what keys are bound to; a number, which no browser takes, is said as it is."""
    return _name() or urlsplit(settings.BASE_URL).hostname or ""


def origins() -> set[str]:
    """Give the origins whose answers are taken: of our own pages, and of FRONTEND_URL."""
    return {one for one in (origin(), _origin_of(urlsplit(settings.FRONTEND_URL))) if one} if _name() else set()


def is_here(host: str) -> bool:
    """Tell whether a page that was asked for by this Host header can ask for a key. A proxy may leave the port out."""
    return bool(_name()) and urlsplit(f"//{host}").hostname == _name()


def where() -> str:
    """Say where keys work."""
    if origin():
        return f"Security keys work at {origin()} alone."
    return f"Security keys want a name, and this platform's address is a number: {settings.BASE_URL}. Use an app."


def foreign_origin(credential: Any) -> str:
    """Give the origin that a key's answer names, where it is not ours; empty where it is, or names none to read."""
    try:
        sent = json.loads(credential) if isinstance(credential, str) else credential
        said = json.loads(websafe_decode(sent["response"]["clientDataJSON"]))["origin"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""  # what is no answer at all is refused by who reads it
    return "" if isinstance(said, str) and said in origins() else str(said)[:LONGEST_SHOWN] or "nowhere"


def _name() -> str:
    host = urlsplit(settings.BASE_URL).hostname or ""
    try:
        return "localhost" if ip_address(host).is_loopback else ""
    except ValueError:
        return host


def _origin_of(url: SplitResult) -> str:
    """Write scheme, host and port as browsers do."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    is_usual = url.port in (None, {"http": 80, "https": 443}.get(url.scheme))
    return f"{url.scheme}://{host}" + ("" if is_usual else f":{url.port}")
