"""Files that a task is given: uploads, and what other tasks left."""

from __future__ import annotations

import pytest

from gaas.lib import clock
from tasks import services
from tasks.models import FileUse, Task
from tasks.tests.rig import Rig, a_body, offered_to, refused, running_on
from tasks.tests.test_queries import SUBMIT
from tasks.tests.test_uploads import DATA, SHA256, UPLOADS, an_upload, begin

pytestmark = pytest.mark.django_db

TASKS = "/api/v1/tasks/"
UNKNOWN = "00000000-0000-7000-8000-00000000dead"


def submit(client, *inputs, **more):
    return client.post(TASKS, a_body(inputs=list(inputs), **more), format="json")


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


@pytest.fixture
def left(alice, dana, api, rig):
    """A task of Alice's that left model/weights.bin."""
    task = submit(api(alice), hours="1").json()
    services.approve(Task.objects.get(pk=task["id"]), by=dana, now=clock.now())
    offer = running_on(rig)
    rig.put(offer, "model/weights.bin", DATA)
    rig.finish(offer, artifacts=[{"name": "model/weights.bin", "size": len(DATA), "sha256": SHA256}])
    return task["id"]


class TestSubmit:
    def test_an_upload_becomes_an_input(self, alice, api):
        client = api(alice)
        id_ = an_upload(client)
        made = submit(client, {"upload": id_}, {"upload": id_, "as": "data/again.csv"})
        assert made.status_code == 201, made.content
        first, second = made.json()["inputs"]
        assert first == {
            "path": "train.csv",
            "size": len(DATA),
            "sha256": SHA256,
            "upload": id_,
            "task": None,
            "artifact": None,
        }
        assert second["path"] == "data/again.csv"
        assert FileUse.objects.count() == 1

    def test_what_a_task_left_becomes_an_input(self, alice, api, left):
        (given,) = submit(api(alice), {"task": left, "artifact": "model/weights.bin"}).json()["inputs"]
        assert (given["path"], given["task"], given["artifact"]) == ("model/weights.bin", left, "model/weights.bin")

    def test_a_mate_may_use_what_is_their_accounts(self, alice, bob, lab, api):
        id_ = an_upload(api(alice), account=str(lab.pk))
        assert submit(api(bob), {"upload": id_}).status_code == 201

    @pytest.mark.parametrize("path", [TASKS, f"{TASKS}quote/"])
    def test_anothers_upload_is_refused_like_an_unknown_one(self, alice, charlie, api, path):
        foreign, unknown = an_upload(api(alice)), UNKNOWN
        answers = []
        for id_ in (foreign, unknown):
            answer = api(charlie).post(path, a_body(inputs=[{"upload": id_}]), format="json")
            answers.append(refused(answer, 400, "does_not_exist", "inputs.0.upload"))
        assert answers[0] == answers[1]
        assert not Task.objects.filter(submitted_by=charlie).exists()

    def test_anothers_result_is_refused_like_an_unknown_one(self, alice, charlie, api, left):
        answers = [
            refused(submit(api(charlie), {"task": id_, "artifact": "model/weights.bin"}), 400, "does_not_exist")
            for id_ in (left, UNKNOWN)
        ]
        assert answers[0] == answers[1]
        refused(submit(api(alice), {"task": left, "artifact": "other"}), 400, "does_not_exist", "inputs.0.artifact")

    def test_an_upload_that_is_not_whole_is_refused(self, alice, api):
        client = api(alice)
        id_ = begin(client).json()["id"]
        refused(submit(client, {"upload": id_}), 400, "file_incomplete", "inputs.0.upload")

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("../x", "bad_name"),
            ("/x", "bad_name"),
            ("a\\b", "bad_name"),
            ("script", "reserved"),
            ("Script/x", "reserved"),
        ],
    )
    def test_paths_that_lead_out_are_refused(self, alice, api, path, code):
        client = api(alice)
        refused(submit(client, {"upload": an_upload(client), "as": path}), 400, code, "inputs.0.as")

    @pytest.mark.parametrize("pair", [("a", "a"), ("a", "A"), ("a", "a/b"), ("d/e", "D"), ("\u00e9", "e\u0301")])
    def test_two_files_of_one_path_are_refused(self, alice, api, pair):
        client = api(alice)
        id_ = an_upload(client)
        answer = submit(client, *({"upload": id_, "as": path} for path in pair))
        refused(answer, 400, "bad_name", "inputs.1.as")

    @pytest.mark.parametrize(
        "item",
        [
            {},
            {"upload": "x"},
            {"task": UNKNOWN},
            {"artifact": "a"},
            {"upload": UNKNOWN, "file": "x"},
            5,
            None,
        ],
    )
    def test_what_names_no_file_is_refused(self, alice, api, item):
        assert submit(api(alice), item).status_code == 400

    def test_so_many_are_refused(self, alice, api):
        client = api(alice)
        id_ = an_upload(client)
        answer = submit(client, *({"upload": id_, "as": str(number)} for number in range(101)))
        refused(answer, 400, "too_many_files", "inputs")

    def test_however_many_they_take_as_many_queries(self, alice, api, django_assert_num_queries):
        client = api(alice)
        ids = [an_upload(client) for _ in range(5)]
        submit(client, {"upload": ids[0]}, hours="1")
        # 16 without any; finding, keeping and binding them (4).
        with django_assert_num_queries(20 + SUBMIT):
            submit(client, *({"upload": id_, "as": id_} for id_ in ids), hours="1")


class TestRetry:
    def test_it_is_given_the_same_files(self, alice, api):
        client = api(alice)
        task = submit(client, {"upload": an_upload(client)}, hours="1").json()
        client.post(f"{TASKS}{task['id']}/cancel/")
        again = client.post(f"{TASKS}{task['id']}/retry/").json()
        assert again["inputs"] == task["inputs"]
        assert FileUse.objects.filter(task=again["id"]).count() == 1

    def test_it_says_when_one_is_gone(self, alice, api):
        client = api(alice)
        id_ = an_upload(client)
        task = submit(client, {"upload": id_}, hours="1").json()
        client.post(f"{TASKS}{task['id']}/cancel/")
        client.delete(f"{UPLOADS}{id_}/")
        refused(client.post(f"{TASKS}{task['id']}/retry/"), 400, "does_not_exist", "inputs.0")


class TestAgent:
    @pytest.fixture
    def offer(self, alice, dana, api, rig):
        client = api(alice)
        task = submit(client, {"upload": an_upload(client), "as": "data/train.csv"}).json()
        services.approve(Task.objects.get(pk=task["id"]), by=dana, now=clock.now())
        return offered_to(rig)

    def test_it_is_told_of_them_until_it_has_started(self, rig, offer):
        (file,) = offer["inputs"]
        assert (file["path"], file["size"], file["sha256"]) == ("data/train.csv", len(DATA), SHA256)
        rig.start(offer)
        assert rig.sync()["attempts"][0]["inputs"] == []

    def test_it_fetches_them_by_ranges(self, rig, offer):
        id_ = offer["inputs"][0]["id"]
        assert b"".join(rig.get(offer, id_)) == DATA
        part = rig.get(offer, id_, Range="bytes=100-")
        assert (part.status_code, b"".join(part)) == (206, DATA[100:])

    def test_no_other_host_does(self, rig, offer, charlie):
        other = Rig(charlie.personal_account, name="other")
        refused(other.get(offer, offer["inputs"][0]["id"]), 409, "lease_lost")

    def test_no_other_epoch_does(self, rig, offer):
        refused(rig.get({**offer, "epoch": 2}, offer["inputs"][0]["id"]), 409, "lease_lost")

    def test_no_other_file_is_given(self, rig, offer, alice, api):
        from tasks.models import Upload

        foreign = Upload.objects.get(pk=an_upload(api(alice)))
        refused(rig.get(offer, foreign.file_id), 404)
        refused(rig.get(offer, UNKNOWN), 404)

    def test_none_is_given_when_it_has_ended(self, rig, offer):
        rig.start(offer)
        rig.finish(offer)
        refused(rig.get(offer, offer["inputs"][0]["id"]), 409, "lease_lost")
