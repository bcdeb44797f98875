from __future__ import annotations

import importlib.util
import math
import os
import stat
import sys
import traceback
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from gaas import health
from gaas.lib.storage import backend
from gaas.tests.s3 import keep_files_at

HOME = Path("/srv/home")


@pytest.fixture
def azure_package() -> None:
    """Skip a test where the package is not installed; in CI it fails."""
    if importlib.util.find_spec("azure") is None:
        why = "azure-storage-blob is not installed (requirements-storage.txt)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)


class TestBackend:
    @pytest.mark.parametrize(
        ("address", "location"),
        [
            ("", "/srv/home/storage"),
            ("file:///srv/gaas", "/srv/gaas"),
            ("file:///srv/with%20blank", "/srv/with blank"),
            ("/srv/plain", "/srv/plain"),
        ],
    )
    def test_it_takes_a_folder(self, address: str, location: str) -> None:
        entry = backend(address, HOME)
        assert entry["BACKEND"] == "django.core.files.storage.FileSystemStorage"
        assert entry["OPTIONS"]["location"] == location

    def test_it_takes_a_bucket(self) -> None:
        entry = backend("s3://key:se%2Fcret@Bucket/a/b?region=eu-1&endpoint=http://127.0.0.1:9000", HOME)
        options = entry["OPTIONS"]
        assert (options["bucket_name"], options["location"]) == ("Bucket", "a/b")
        assert (options["access_key"], options["secret_key"]) == ("key", "se/cret")
        assert (options["endpoint_url"], options["region_name"]) == ("http://127.0.0.1:9000", "eu-1")

    def test_it_leaves_credentials_to_the_environment(self) -> None:
        assert "access_key" not in backend("s3://bucket", HOME)["OPTIONS"]

    def test_it_takes_a_container(self, azure_package: None) -> None:
        address = "azure://account:a+2%2F@container/a/b?endpoint=http://127.0.0.1:10000/account"
        options = backend(address, HOME)["OPTIONS"]
        assert (options["account_name"], options["account_key"]) == ("account", "a+2/")
        assert (options["azure_container"], options["location"]) == ("container", "a/b")
        assert options["endpoint"] == "http://127.0.0.1:10000/account"
        assert options["overwrite_files"] is False

    def test_a_container_is_at_azure_unless_it_is_said(self, azure_package: None) -> None:
        with keep_files_at("azure://account:a+2%2F@container"):
            assert default_storage.service_client.url == "https://account.blob.core.windows.net/"

    def test_it_keeps_nothing_in_public(self) -> None:
        options = backend("s3://bucket", HOME)["OPTIONS"]
        assert options["default_acl"] == "private"
        assert options["querystring_auth"] is True
        assert options["file_overwrite"] is False

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("ftp://host/folder", "ftp://"),
            ("file://host/folder", "three slashes"),
            ("s3://", "names no bucket"),
            ("s3://bucket:9000", "names no bucket"),
            ("s3://bucket?acl=public", "acl"),
            ("s3://[", "cannot be read"),
        ],
    )
    def test_it_says_what_is_wrong(self, address: str, said: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=said.replace("?", r"\?")):
            backend(address, HOME)

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("azure://container", "no account and key"),
            ("azure://account:a+2%2F@container?sas=x", "sas"),
            ("azure://account:a.b.@container", "never gave"),
        ],
    )
    def test_it_says_what_is_wrong_with_a_container(self, azure_package: None, address: str, said: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=said):
            backend(address, HOME)

    @pytest.mark.parametrize("address", ["azure://account:se+cret/key==@container", "s3://key:se+cret/key@bucket"])
    def test_a_key_with_a_slash_is_said_and_not_shown(self, address: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="%2F") as raised:
            backend(address, HOME)
        assert "se+cret" not in "".join(traceback.format_exception(raised.value))

    @pytest.mark.parametrize(
        ("address", "missing", "extra"),
        [
            ("s3://bucket", "storages", "s3"),
            ("s3://bucket", "boto3", "s3"),
            ("azure://account:key@container", "storages", "azure"),
        ],
    )
    def test_it_names_the_package_that_is_not_installed(
        self, address: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ImproperlyConfigured, match=rf"django-storages\[{extra}\]"):
            backend(address, HOME)


class TestFolder:
    def test_what_is_kept_is_for_this_user_alone(self, tmp_path: Path) -> None:
        with keep_files_at(f"file://{tmp_path}/kept"):
            key = default_storage.save("a/b", ContentFile(b"x"))
            path = default_storage.path(key)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(tmp_path / "kept" / "a").st_mode) == 0o700


class TestContainer:
    def test_one_that_is_away_is_given_up_within_seconds(
        self, azure_package: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from azure.core.exceptions import ServiceRequestError
        from azure.core.pipeline.transport import HttpTransport

        pauses: list[float] = []
        monkeypatch.setattr(HttpTransport, "sleep", lambda self, seconds: pauses.append(seconds))
        away = "azure://account:a+2%2F@container?endpoint=http://127.0.0.1:1/account"
        with keep_files_at(away), pytest.raises(ServiceRequestError):
            default_storage.exists("a")
        assert len(pauses) == 2
        assert sum(pauses) <= 4


class TestBucket:
    def test_it_keeps_and_gives_back(self, s3_address: str) -> None:
        with keep_files_at(s3_address):
            key = default_storage.save("a/b", ContentFile(b"bytes"))
            assert default_storage.save("a/b", ContentFile(b"others")) != key
            with default_storage.open(key) as file:
                assert file.read() == b"bytes"
            default_storage.delete(key)
            assert not default_storage.exists(key)

    def test_readiness_asks_it(self, s3_address: str) -> None:
        with keep_files_at(s3_address):
            assert health.check_storage() is None
            assert default_storage.listdir("readyz") == ([], [])

    @pytest.mark.django_db
    def test_readiness_says_when_it_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "_kept", (-math.inf, {}))
        away = "s3://key:secret@bucket?region=us-east-1&endpoint=http://127.0.0.1:1"
        with keep_files_at(away):
            answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["storage"] != "ok"
