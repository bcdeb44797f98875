from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.services import storage_of
from accounts.services.storage import set_storage_quota
from tasks.models import Upload
from tasks.pages.files import Files
from tasks.tests.slow_storage import SlowStorage

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob_web(client, bob):
    client.force_login(bob)
    return client


def url(account):
    return f"/accounts/{account.pk}/files/"


def sent(data=b"1,2\n", name="data.csv"):
    return {"do": "send_file", "of": "", "file": SimpleUploadedFile(name, data)}


class TestFilesPage:
    def test_a_file_is_sent_listed_and_deleted(self, bob_web, lab):
        data = b"x" * (9 * 1024 * 1024)  # more than a page's form takes otherwise, and than one piece
        assert bob_web.post(url(lab), sent(data)).status_code == 302
        upload = Upload.objects.get()
        assert (upload.name, upload.file.size, upload.file.is_whole) == ("data.csv", len(data), True)
        page = bob_web.get(url(lab)).content.decode()
        assert f"{upload.pk}" in page
        assert "9 MiB" in page
        assert storage_of(lab).used == len(data)
        bob_web.post(url(lab), {"do": "delete_upload", "of": str(upload.pk)})
        assert storage_of(lab).used == 0
        assert "None. What you send here" in bob_web.get(url(lab)).content.decode()

    def test_what_does_not_fit_is_said_beside_its_field(self, bob_web, lab):
        set_storage_quota(account=lab, quota_bytes=3, by=None, reason="")
        answer = bob_web.post(url(lab), sent())
        assert answer.status_code == 400
        assert "may keep are taken" in answer.content.decode()
        assert not Upload.objects.exists()

    def test_what_could_not_be_kept_takes_no_room(self, bob_web, lab, settings, tmp_path, monkeypatch):
        def away():
            raise OSError("away")

        backend = {"BACKEND": "tasks.tests.slow_storage.SlowStorage", "OPTIONS": {"location": tmp_path}}
        settings.STORAGES = {**settings.STORAGES, "default": backend}
        monkeypatch.setattr(SlowStorage, "at_read", away)
        assert bob_web.post(url(lab), sent()).status_code == 503
        assert not Upload.objects.here().exists()
        assert storage_of(lab).used == 0

    def test_no_file_is_refused(self, bob_web, lab):
        assert bob_web.post(url(lab), {"do": "send_file", "of": ""}).status_code == 400

    def test_too_much_is_refused_before_it_is_read(self, client, bob, lab, monkeypatch):
        monkeypatch.setattr(Files, "max_body_bytes", 1000)
        client.force_login(bob)
        assert client.post(url(lab), sent(b"x" * 2000)).status_code == 413

    def test_nobody_sends_more_than_any_form_may(self, client, lab):
        assert client.post(url(lab), sent(b"x" * (9 * 1024 * 1024))).status_code == 413

    def test_another_members_file_is_a_managers_to_delete(self, bob_web, client, alice, lab, charlie):
        bob_web.post(url(lab), sent())
        upload = Upload.objects.get()
        client.force_login(charlie)
        assert client.post(url(lab), {"do": "delete_upload", "of": str(upload.pk)}).status_code == 404
        client.force_login(alice)
        assert client.post(url(lab), {"do": "delete_upload", "of": str(upload.pk)}).status_code == 302
