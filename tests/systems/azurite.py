"""Azure's blob service on loopback: Azurite, of Azure's own making, from npm, with the little that tests need of it."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from tests.peers import free_port
from tests.systems import npm

VERSION = "3.35.0"  # later ones want a newer Node than Debian has
ACCOUNT = "gaastests"
# Each sign of base64 that means something else in an address.
KEY = base64.b64encode(b"\xff\xef\xbe" * 20 + b"~").decode()
OTHER_KEY = base64.b64encode(b"\x01" * 64).decode()


def binary() -> str:
    """Find the blob service: AZURITE_BLOB, PATH, or what npm put into build/azurite. Raises Missing."""
    return npm.program("azurite-blob", f"azurite@{VERSION}", folder="azurite")


class Azurite:
    """Look at one service from outside of the platform."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"

    def address(self, container: str, *, key: str = KEY) -> str:
        """Give the STORAGE_URL of a container."""
        return f"azure://{ACCOUNT}:{quote(key, safe='')}@{container}/kept?endpoint={self.url}"

    def container(self) -> str:
        """Make an empty container and give its name."""
        name = f"files-{secrets.token_hex(8)}"
        self._service().create_container(name)
        return name

    def names(self, container: str) -> list[str]:
        return sorted(self._service().get_container_client(container).list_blob_names())

    def sizes(self, container: str) -> list[int]:
        return [blob.size for blob in self._service().get_container_client(container).list_blobs()]

    def _service(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.url, credential={"account_name": ACCOUNT, "account_key": KEY})


@contextmanager
def azurite() -> Iterator[Azurite]:
    """Run a service of its own on a free port, which keeps everything in memory."""
    port = free_port()
    command = [binary(), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    command += ["--skipApiVersionCheck", "--disableTelemetry"]
    with tempfile.TemporaryDirectory(prefix="gaas-azurite-") as folder:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_it_answers(process, f"http://127.0.0.1:{port}/")
            yield Azurite(port)
        finally:
            process.kill()  # asked to stop it would wait seconds for connections that are kept alive
            process.wait(20)


def _until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(url, timeout=5, trust_env=False)
            return
        except httpx.HTTPError:
            assert process.poll() is None, "azurite ended"
            assert time.monotonic() < deadline, "azurite does not answer"
            time.sleep(0.1)
