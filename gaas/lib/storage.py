"""Where files are kept, read from one address: a folder, a bucket shaped like S3's, a container shaped like Azure's.

    ""                                  the folder `storage` in GAAS_HOME
    file:///srv/gaas                    another folder
    s3://bucket/prefix?region=…&endpoint=http://127.0.0.1:9000
    azure://account:key@container/prefix?endpoint=…

`s3://key:secret@bucket` names a credential; without one it is found as the AWS tools find theirs. A / in a key or a
secret is written %2F. Whatever is kept is private: there is no address under which a browser could ask for it, and
nothing is ever replaced under its name.
"""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

FOLDER = "storage"


def backend(address: str, home: Path) -> dict[str, Any]:
    """Give the entry of Django's STORAGES for an address; raises ImproperlyConfigured where it cannot be used."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        # Python's own words quote what it took for a port: the first part of a key that has a / in it.
        raise ImproperlyConfigured(
            "STORAGE_URL cannot be read. Where a key or a secret has a / in it, write %2F instead."
        ) from None
    if parts.scheme in ("", "file"):
        if parts.netloc:
            raise ImproperlyConfigured("STORAGE_URL names a folder as file:///folder, with three slashes.")
        return _folder(Path(unquote(parts.path)) if parts.path else home / FOLDER)
    if parts.scheme not in ("s3", "azure"):
        raise ImproperlyConfigured(
            f"STORAGE_URL begins with {parts.scheme}://; give file:///folder, s3://bucket or azure://…"
        )
    if not parts.hostname or port is not None:
        raise ImproperlyConfigured("STORAGE_URL names no bucket: give s3://bucket or azure://account:key@container.")
    return _s3(parts) if parts.scheme == "s3" else _azure(parts)


def _folder(path: Path) -> dict[str, Any]:
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": str(path),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    }


def _s3(parts: SplitResult) -> dict[str, Any]:
    _require("boto3", "s3")
    words = _words(parts, {"region", "endpoint"})
    options: dict[str, Any] = {
        "bucket_name": _host(parts),
        "location": parts.path.strip("/"),
        "default_acl": "private",
        "querystring_auth": True,
        "file_overwrite": False,
        "signature_version": "s3v4",
    }
    if parts.username:
        options |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    if "region" in words:
        options["region_name"] = words["region"]
    if "endpoint" in words:
        # Names of buckets are no host names of a server of one's own.
        options |= {"endpoint_url": words["endpoint"], "addressing_style": "path"}
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


def _azure(parts: SplitResult) -> dict[str, Any]:
    _require("azure.storage.blob", "azure")
    if not parts.username or not parts.password:
        raise ImproperlyConfigured(
            "STORAGE_URL names no account and key: give azure://account:key@container, with %2F for each / of the key."
        )
    words, key = _words(parts, {"endpoint"}), unquote(parts.password)
    try:
        base64.b64decode(key, validate=True)
    except ValueError:
        raise ImproperlyConfigured(
            "STORAGE_URL has a key that Azure never gave: one is base64, as `az storage account keys list` shows it."
        ) from None
    options: dict[str, Any] = {
        "account_name": unquote(parts.username),
        "account_key": key,
        "azure_container": _host(parts),
        "location": parts.path.strip("/"),
        "overwrite_files": False,
        "endpoint": words.get("endpoint", ""),
    }
    return {"BACKEND": "gaas.lib.azure.Container", "OPTIONS": options}


def _host(parts: SplitResult) -> str:
    """Give the name as it was written; urlsplit makes it lower case."""
    return parts.netloc.rpartition("@")[2]


def _words(parts: SplitResult, known: set[str]) -> dict[str, str]:
    words = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    for name in words:
        if name not in known:
            raise ImproperlyConfigured(
                f"STORAGE_URL has ?{name}=, which {parts.scheme}:// does not know: {', '.join(sorted(known))}."
            )
    return words


def _require(module: str, extra: str) -> None:
    for name in ("storages", module):
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ImproperlyConfigured(
                f"STORAGE_URL needs a package that is not installed: pip install 'django-storages[{extra}]==1.14.6'."
            )
