"""A server shaped like S3 on loopback (moto's), for what is kept in a bucket."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from gaas.lib.storage import backend
from tests.peers import free_port

BUCKET = "gaas-files"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Start the server; without its packages the test is skipped, but in CI it fails."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("boto3") is None:
        why = "moto or boto3 is not installed (requirements-dev.txt)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_it_listens(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.fixture
def s3_address(s3_endpoint: str) -> Iterator[str]:
    """Make an empty bucket and give its STORAGE_URL."""
    import boto3

    s3 = boto3.resource(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret/+",
    )
    bucket = s3.create_bucket(Bucket=BUCKET)
    yield f"s3://key:secret%2F%2B@{BUCKET}/kept?region=us-east-1&endpoint={s3_endpoint}"
    bucket.objects.all().delete()
    bucket.delete()


def _until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the S3-shaped server does not start")


def keep_files_at(address: str) -> override_settings:
    """Have files kept there for a while."""
    return override_settings(STORAGES={**settings.STORAGES, "default": backend(address, Path(settings.GAAS_HOME))})
