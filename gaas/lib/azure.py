"""A container of Azure's blobs as a place for files: django-storages', with patience that ends and reads of ranges."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, LinearRetry, StorageErrorCode
from storages.backends.azure_storage import AzureStorage

CONNECT_SECONDS = 5
# The package's own waits up to 84 s before it says that nobody answers, at each of the calls that a file takes.
TRIES_MORE, PAUSE_SECONDS = 2, 1


class Container(AzureStorage):  # type: ignore[misc]  # which has no types
    """Keep objects in one container, which is there already; `endpoint` is another address than Azure's own."""

    def get_default_settings(self) -> dict[str, Any]:
        return {**super().get_default_settings(), "endpoint": ""}

    def _get_service_client(self) -> BlobServiceClient:
        return BlobServiceClient(
            self.endpoint or f"https://{self.account_name}.blob.{self.endpoint_suffix}",
            credential={"account_name": self.account_name, "account_key": self.account_key},
            connection_timeout=CONNECT_SECONDS,
            retry_policy=LinearRetry(backoff=PAUSE_SECONDS, random_jitter_range=PAUSE_SECONDS, retry_total=TRIES_MORE),
        )

    def delete(self, name: str) -> None:
        """Delete an object; one that is gone is fine, but not a container that is: its objects may lie in another."""
        try:
            self.client.delete_blob(self._get_valid_path(name), timeout=self.timeout)
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) != StorageErrorCode.BLOB_NOT_FOUND:  # which its type does not tell
                raise

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Give some bytes of an object; a file that was opened fetches the whole of it."""
        found = self.client.download_blob(self._get_valid_path(name), offset=start, length=size, timeout=self.timeout)
        data: bytes = found.readall()
        return data
