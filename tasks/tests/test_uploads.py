"""Files that people send: begun, sent in pieces from any byte, held against their digest, limited, deleted."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.db import connection

from accounts.choices import Role
from accounts.models import Membership
from accounts.services import set_storage_quota, storage_of
from gaas.lib import clock
from tasks.models import FilePiece, StoredFile, Upload
from tasks.services import files
from tasks.tests.rig import a_body, refused

pytestmark = pytest.mark.django_db

UPLOADS = "/api/v1/uploads/"
DATA = bytes(range(256)) * 64
SHA256 = hashlib.sha256(DATA).hexdigest()


def begin(client, name="train.csv", **more):
    return client.post(UPLOADS, {"name": name, "size": len(DATA), **more}, format="json")


def put(client, upload_id, data, offset=None):
    query = "" if offset is None else f"?offset={offset}"
    return client.put(f"{UPLOADS}{upload_id}/content/{query}", data, content_type="application/octet-stream")


def complete(client, upload_id, **body):
    return client.post(f"{UPLOADS}{upload_id}/complete/", body, format="json")


def an_upload(client, data=DATA, **more):
    """Send a whole upload and give its id."""
    made = begin(client, size=len(data), **more).json()
    assert put(client, made["id"], data).status_code == 200
    assert complete(client, made["id"]).status_code == 200
    return made["id"]


class TestUpload:
    def test_it_is_begun_sent_completed_and_given_back(self, alice, api):
        client = api(alice)
        made = begin(client, sha256=SHA256)
        assert made.status_code == 201, made.content
        body = made.json()
        assert (body["status"], body["offset"], body["size"]) == ("OPEN", 0, len(DATA))

        assert put(client, body["id"], DATA).json() == {"offset": len(DATA)}
        done = complete(client, body["id"])

        assert done.json()["status"] == "WHOLE"
        assert done.json()["sha256"] == SHA256
        answer = client.get(f"{UPLOADS}{body['id']}/content/")
        assert b"".join(answer) == DATA

    def test_it_goes_on_where_it_was_cut_off(self, alice, api):
        client = api(alice)
        id_ = begin(client, sha256=SHA256).json()["id"]
        put(client, id_, DATA[:1000])

        assert client.get(f"{UPLOADS}{id_}/").json()["offset"] == 1000
        assert put(client, id_, DATA[1000:], 1000).json() == {"offset": len(DATA)}
        assert complete(client, id_).status_code == 200
        assert b"".join(client.get(f"{UPLOADS}{id_}/content/")) == DATA

    def test_what_is_sent_twice_is_kept_once(self, alice, api):
        client = api(alice)
        id_ = begin(client).json()["id"]
        put(client, id_, DATA[:1000])

        assert put(client, id_, DATA[500:2000], 500).json() == {"offset": 2000}
        assert put(client, id_, DATA[:2000], 0).json() == {"offset": 2000}
        put(client, id_, DATA[2000:], 2000)
        assert complete(client, id_, sha256=SHA256).status_code == 200

    def test_a_hole_is_refused_with_the_wanted_offset(self, alice, api):
        client = api(alice)
        id_ = begin(client).json()["id"]
        put(client, id_, DATA[:10])

        answer = put(client, id_, DATA[20:], 20)

        assert answer.status_code == 416
        assert answer.json()["offset"] == 10
        assert answer.json()["errors"][0]["code"] == "file_gap"

    def test_more_than_was_promised_is_refused(self, alice, api):
        client = api(alice)
        id_ = begin(client, size=10).json()["id"]
        refused(put(client, id_, b"x" * 11), 400, "file_too_long", "offset")
        assert client.get(f"{UPLOADS}{id_}/").json()["offset"] == 0

    def test_a_file_in_many_pieces_reads_as_one(self, alice, api, monkeypatch):
        monkeypatch.setattr(files, "PIECE_BYTES", 1000)
        client = api(alice)
        id_ = an_upload(client)
        assert FilePiece.objects.count() == 17
        assert b"".join(client.get(f"{UPLOADS}{id_}/content/")) == DATA
        part = client.get(f"{UPLOADS}{id_}/content/", headers={"Range": "bytes=1500-5499"})
        assert b"".join(part) == DATA[1500:5500]

    def test_an_empty_file_is_a_file(self, alice, api):
        client = api(alice)
        id_ = begin(client, size=0).json()["id"]
        assert complete(client, id_).json()["sha256"] == hashlib.sha256(b"").hexdigest()
        assert b"".join(client.get(f"{UPLOADS}{id_}/content/")) == b""

    def test_it_is_not_completed_before_all_is_there(self, alice, api):
        client = api(alice)
        id_ = begin(client).json()["id"]
        put(client, id_, DATA[:-1])
        refused(complete(client, id_), 409, "file_incomplete")
        refused(client.get(f"{UPLOADS}{id_}/content/"), 404)

    @pytest.mark.parametrize("when", ["at its start", "at its end"])
    def test_other_bytes_than_promised_are_thrown_away(self, alice, api, when):
        client, wrong = api(alice), hashlib.sha256(b"others").hexdigest()
        id_ = begin(client, **({"sha256": wrong} if when == "at its start" else {})).json()["id"]
        put(client, id_, DATA[:5])
        put(client, id_, DATA[5:], 5)

        answer = complete(client, id_, **({"sha256": wrong} if when == "at its end" else {}))

        said = refused(answer, 422, "wrong_hash", "sha256")
        assert SHA256 in said["detail"]
        refused(client.get(f"{UPLOADS}{id_}/"), 404)
        assert storage_of(alice.personal_account).used == 0

    def test_completing_again_changes_nothing(self, alice, api):
        client = api(alice)
        id_ = an_upload(client)
        first = client.get(f"{UPLOADS}{id_}/").json()
        assert complete(client, id_).json() == first
        refused(complete(client, id_, sha256="0" * 64), 422, "wrong_hash")
        assert put(client, id_, DATA, 0).json() == {"offset": len(DATA)}

    def test_it_is_in_the_list_of_its_account_alone(self, alice, charlie, api):
        id_ = an_upload(api(alice))
        assert [row["id"] for row in api(alice).get(UPLOADS).json()["results"]] == [id_]
        assert api(charlie).get(UPLOADS).json()["results"] == []
        assert api(alice).get(f"{UPLOADS}?status=OPEN").json()["results"] == []

    def test_a_member_may_not_change_what_a_mate_sent(self, alice, bob, api, lab):
        Membership.objects.filter(account=lab, user=alice).update(role=Role.MEMBER)
        id_ = begin(api(alice), account=str(lab.pk)).json()["id"]
        refused(put(api(bob), id_, DATA), 403)
        refused(complete(api(bob), id_), 403)
        refused(api(bob).delete(f"{UPLOADS}{id_}/"), 403)
        assert api(bob).get(f"{UPLOADS}{id_}/").status_code == 200

    def test_a_manager_may(self, alice, bob, api, lab):
        id_ = begin(api(bob), account=str(lab.pk)).json()["id"]
        assert api(alice).delete(f"{UPLOADS}{id_}/").status_code == 204


class TestLimits:
    def test_the_quota_counts_from_the_first_moment(self, alice, api, settings):
        settings.STORAGE_QUOTA_MIB = 1
        client = api(alice)
        assert begin(client, size=600 * 1024).status_code == 201
        said = refused(begin(client, size=600 * 1024), 400, "storage_full", "size")
        assert "600 KiB of the 1 MiB" in said["detail"]
        assert Upload.objects.count() == StoredFile.objects.count() == 1

    def test_an_account_may_have_a_quota_of_its_own(self, alice, dana, api, settings):
        settings.STORAGE_QUOTA_MIB = 1
        set_storage_quota(account=alice.personal_account, quota_bytes=10, by=dana, reason="little")
        refused(begin(api(alice), size=11), 400, "storage_full")
        assert begin(api(alice), size=10).status_code == 201

    def test_deleting_gives_the_room_back(self, alice, api, settings):
        settings.STORAGE_QUOTA_MIB = 1
        client = api(alice)
        id_ = begin(client, size=1024 * 1024).json()["id"]
        assert client.delete(f"{UPLOADS}{id_}/").status_code == 204
        assert begin(client, size=1024 * 1024).status_code == 201

    def test_a_file_has_a_largest_size(self, alice, api, settings):
        settings.MAX_FILE_MIB = 1
        refused(begin(api(alice), size=1024 * 1024 + 1), 400, "file_too_large", "size")

    def test_an_account_has_a_largest_number(self, alice, api, settings):
        settings.MAX_UPLOADS = 2
        client = api(alice)
        first = begin(client).json()["id"]
        begin(client)
        refused(begin(client), 400, "too_many_files", "account")
        client.delete(f"{UPLOADS}{first}/")
        assert begin(client).status_code == 201

    @pytest.mark.parametrize(
        "name",
        [
            "../x",
            "a/../b",
            "/etc/passwd",
            "a\\b",
            "C:x",
            "a//b",
            ".",
            "..",
            "a/",
            "nul",
            "COM1.txt",
            "x" * 256,
            "a.",
        ],
    )
    def test_unsafe_names_are_refused(self, alice, api, name):
        refused(begin(api(alice), name=name), 400, "bad_name", "name")

    @pytest.mark.parametrize("name", ["a\x00b", "a\nb", "a\u202eb", "", "x" * 513, 7, None])
    def test_names_that_are_no_line_of_text_are_refused(self, alice, api, name):
        refused(begin(api(alice), name=name), 400, attr="name")

    @pytest.mark.parametrize("size", [-1, "5", 1.5, True, None, 2**63, 2**53 + 1])
    def test_sizes_that_are_none_are_refused(self, alice, api, size):
        refused(begin(api(alice), size=size), 400, attr="size")

    @pytest.mark.parametrize("sha256", ["x", "A" * 64, "0" * 63, 5])
    def test_digests_that_are_none_are_refused(self, alice, api, sha256):
        refused(begin(api(alice), sha256=sha256), 400, attr="sha256")

    @pytest.mark.parametrize("offset", ["-1", "x", "1.0", "9" * 30, "%00"])
    def test_offsets_that_are_none_are_refused(self, alice, api, offset):
        client = api(alice)
        id_ = begin(client).json()["id"]
        assert put(client, id_, b"x", offset).status_code == 400

    def test_a_body_that_is_no_bytes_is_refused(self, alice, api):
        client = api(alice)
        id_ = begin(client).json()["id"]
        assert client.put(f"{UPLOADS}{id_}/content/", {"a": 1}, format="json").status_code == 415

    def test_a_batch_has_a_largest_size(self, alice, api):
        client = api(alice)
        id_ = begin(client, size=2**30).json()["id"]
        answer = client.put(
            f"{UPLOADS}{id_}/content/",
            b"x",
            content_type="application/octet-stream",
            CONTENT_LENGTH=str(64 * 1024 * 1024 + 1),
        )
        refused(answer, 413, "body_too_large")


class TestDownload:
    @pytest.fixture
    def path(self, alice, api):
        return f"{UPLOADS}{an_upload(api(alice))}/content/"

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [("0-9", 0, 10), ("100-", 100, len(DATA)), ("-7", len(DATA) - 7, len(DATA)), ("5-999999", 5, len(DATA))],
    )
    def test_a_range_is_answered_by_that_range(self, alice, api, path, asked, start, end):
        answer = api(alice).get(path, headers={"Range": f"bytes={asked}"})
        assert answer.status_code == 206
        assert b"".join(answer) == DATA[start:end]
        assert answer["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
        assert answer["Content-Length"] == str(end - start)

    @pytest.mark.parametrize("asked", [f"{len(DATA)}-", "9-3", "-0"])
    def test_a_range_that_is_not_there_is_416(self, alice, api, path, asked):
        answer = api(alice).get(path, headers={"Range": f"bytes={asked}"})
        refused(answer, 416, "range_not_here")
        assert answer["Content-Range"] == f"bytes */{len(DATA)}"

    @pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=" + "9" * 40 + "-"])
    def test_what_is_no_single_range_is_answered_by_the_whole(self, alice, api, path, asked):
        answer = api(alice).get(path, headers={"Range": asked})
        assert answer.status_code == 200
        assert b"".join(answer) == DATA

    def test_a_range_of_what_has_changed_is_answered_by_the_whole(self, alice, api, path):
        answer = api(alice).get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
        assert answer.status_code == 200
        same = api(alice).get(path, headers={"Range": "bytes=0-1", "If-Range": f'"{SHA256}"'})
        assert same.status_code == 206

    def test_who_has_it_is_not_sent_it_again(self, alice, api, path):
        answer = api(alice).get(path, headers={"If-None-Match": f'"{SHA256}"'})
        assert answer.status_code == 304

    def test_head_tells_the_size(self, alice, api, path):
        answer = api(alice).head(path)
        assert answer.status_code == 200
        assert answer["Content-Length"] == str(len(DATA))

    def test_no_browser_takes_it_for_a_page(self, alice, api):
        client = api(alice)
        id_ = an_upload(client, b"<script>alert(1)</script>", name='dir/ev"il\u00e9.html')
        answer = client.get(f"{UPLOADS}{id_}/content/", headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Disposition"].startswith("attachment")
        assert "ev%22il%C3%A9.html" in answer["Content-Disposition"]
        assert "dir" not in answer["Content-Disposition"]
        assert b"".join(answer) == b"<script>alert(1)</script>"
        assert answer["Cache-Control"] == "private, no-cache"


class TestStorage:
    def test_a_full_disk_is_said_and_nothing_is_half_kept(self, alice, api, tmp_path):
        from gaas.tests.s3 import keep_files_at

        client = api(alice)
        id_ = begin(client).json()["id"]
        (tmp_path / "full").write_text("no folder")
        with keep_files_at(f"file://{tmp_path}/full/storage"):
            answer = put(client, id_, DATA)
        refused(answer, 503, "storage_away")
        assert answer["Retry-After"]
        assert client.get(f"{UPLOADS}{id_}/").json()["offset"] == 0
        assert put(client, id_, DATA).status_code == 200
        assert complete(client, id_, sha256=SHA256).status_code == 200

    def test_an_object_that_is_gone_is_said(self, alice, api, tmp_path):
        from gaas.tests.s3 import keep_files_at

        client = api(alice)
        id_ = an_upload(client)
        with keep_files_at(f"file://{tmp_path}"):
            refused(client.get(f"{UPLOADS}{id_}/content/"), 503, "storage_away")

    def test_all_of_it_works_in_a_bucket(self, alice, api, s3_address, monkeypatch):
        from gaas.tests.s3 import keep_files_at

        monkeypatch.setattr(files, "PIECE_BYTES", 5000)
        client = api(alice)
        with keep_files_at(s3_address):
            id_ = an_upload(client)
            part = client.get(f"{UPLOADS}{id_}/content/", headers={"Range": "bytes=4000-11000"})
            assert b"".join(part) == DATA[4000:11001]


class TestRetention:
    def test_an_upload_goes_when_its_time_is_over(self, alice, api, settings, django_capture_on_commit_callbacks):
        id_ = an_upload(api(alice))
        with django_capture_on_commit_callbacks(execute=True):
            files.sweep_files(now=clock.now() + timedelta(seconds=settings.UPLOAD_KEEP_SECONDS + 1))
        refused(api(alice).get(f"{UPLOADS}{id_}/"), 404)
        assert not FilePiece.objects.exists()
        assert storage_of(alice.personal_account).used == 0

    def test_one_that_was_never_whole_goes_sooner(self, alice, api, settings):
        begin(api(alice))
        files.sweep_files(now=clock.now() + timedelta(seconds=settings.UPLOAD_OPEN_SECONDS + 1))
        assert not Upload.objects.here().exists()

    def test_a_live_task_keeps_what_it_needs(self, alice, api, settings):
        client = api(alice)
        id_ = an_upload(client)
        task = client.post("/api/v1/tasks/", a_body(inputs=[{"upload": id_}]), format="json").json()
        later = clock.now() + timedelta(seconds=2 * settings.UPLOAD_KEEP_SECONDS)

        files.sweep_files(now=later)
        assert client.get(f"{UPLOADS}{id_}/").status_code == 200
        refused(client.delete(f"{UPLOADS}{id_}/"), 409, "file_in_use")

        client.post(f"/api/v1/tasks/{task['id']}/cancel/")
        files.sweep_files(now=later)
        refused(client.get(f"{UPLOADS}{id_}/"), 404)

    def test_an_object_that_nobody_counted_goes(self, alice, api, settings):
        id_ = begin(api(alice)).json()["id"]
        file = Upload.objects.get(pk=id_).file
        FilePiece.objects.create(file=file, offset=0, size=5, key="files/00/never-written")
        files.sweep_files(now=clock.now())
        assert FilePiece.objects.count() == 1
        files.sweep_files(now=clock.now() + timedelta(seconds=settings.UPLOAD_OPEN_SECONDS + 1))
        assert not FilePiece.objects.exists()


class TestQueries:
    def test_a_list_of_any_length_takes_as_many(self, alice, api, django_assert_num_queries):
        client = api(alice)
        for _ in range(4):
            begin(client)
        # Who calls, what they may (2), the page.
        with django_assert_num_queries(4):
            client.get(UPLOADS)

    def test_a_download_takes_few(self, alice, api, django_assert_num_queries):
        client = api(alice)
        id_ = an_upload(client)
        # Who calls, what they may (2), the upload, the caller's role, the pieces; PostgreSQL is asked for its clock.
        with django_assert_num_queries(6 + (connection.vendor == "postgresql")):
            assert b"".join(client.get(f"{UPLOADS}{id_}/content/")) == DATA
