"""Who may call what a task serves, and which host's connection is taken for it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from gaas.lib import clock, tickets
from gaas.relays import Relays
from gpus.models import Host
from tasks.models import Attempt, Relay, Task
from tasks.services import relays
from tasks.tests.rig import Rig, a_body, an_approved_task, refused, running_on

pytestmark = pytest.mark.django_db

SERVES = {"command": ["serve"], "serve": True}


@pytest.fixture
def rig(olga: Any) -> Rig:
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice: Any, dana: Any) -> Task:
    return an_approved_task(alice, dana, spec=SERVES)


def take(offer: dict[str, Any], rig: Rig, **changes: Any) -> bool:
    mine = {"attempt_id": offer["id"], "epoch": offer["epoch"], "host_id": rig.host_id, "connection": uuid4()}
    return relays.take_relay(**{**mine, "url": "http://a:1", "now": clock.now(), **changes})


class TestSync:
    def test_it_names_a_relay_once_the_program_runs(self, rig: Rig, task: Task) -> None:
        offer = running_on(rig)
        [order] = rig.sync()["relays"]
        assert (order["id"], order["epoch"]) == (offer["id"], 1)
        assert order["url"].endswith(f"/api/agent/v1/relay/{offer['id']}")
        assert tickets.read(purpose="relay", ticket=order["ticket"]) == f"{offer['id']}:1:{rig.host_id}"
        rig.finish(offer)
        assert rig.sync()["relays"] == []

    def test_it_names_none_for_what_does_not_serve(self, rig: Rig, alice: Any, dana: Any) -> None:
        an_approved_task(alice, dana)
        running_on(rig)
        assert rig.sync()["relays"] == []


class TestTakeRelay:
    def test_the_newest_connection_stands(self, rig: Rig, task: Task) -> None:
        offer = running_on(rig)
        first, second = uuid4(), uuid4()
        assert take(offer, rig, connection=first)
        assert take(offer, rig, connection=second, url="http://b:2")
        relays.drop_relay(connection=first)
        assert relays.find_relay(offer["id"]) == "http://b:2"
        relays.drop_relay(connection=second)
        assert relays.find_relay(offer["id"]) is None

    def test_others_are_fenced_off(self, rig: Rig, task: Task, olga: Any) -> None:
        offer = running_on(rig)
        other = Rig(olga.personal_account, name="other")
        assert not take(offer, rig, epoch=2)
        assert not take(offer, rig, epoch=0)
        assert not take(offer, other)
        assert not take(offer, rig, attempt_id=uuid4())
        rig.finish(offer)
        assert not take(offer, rig)
        assert not Relay.objects.exists()

    def test_what_has_ended_is_not_found(self, rig: Rig, task: Task) -> None:
        offer = running_on(rig)
        take(offer, rig)
        rig.finish(offer)
        assert relays.find_relay(offer["id"]) is None


class TestRevokedHost:
    """What was begun before is not known to have ended yet; nobody's requests go there."""

    def test_it_gets_no_requests(self, rig: Rig, task: Task, alice: Any, dana: Any, api: Any) -> None:
        take(running_on(rig), rig)
        assert api(alice).get(f"/api/v1/tasks/{task.pk}/service/").status_code == 200
        Host.objects.get(pk=rig.host_id).revoke(by=dana, now=clock.now())
        refused(api(alice).get(f"/api/v1/tasks/{task.pk}/service/"), 409, "not_serving")

    def test_its_connection_is_not_taken(self, rig: Rig, task: Task, dana: Any) -> None:
        offer = running_on(rig)
        Host.objects.get(pk=rig.host_id).revoke(by=dana, now=clock.now())
        assert not take(offer, rig)


@pytest.mark.django_db(transaction=True)
class TestConnections:
    def test_a_newer_one_of_the_same_attempt_ends_it(self, rig: Rig, task: Task) -> None:
        running_on(rig)
        [order] = rig.sync()["relays"]
        scope = {"type": "websocket", "path": f"/api/agent/v1/relay/{order['id']}", "headers": []}
        scope["query_string"] = f"ticket={order['ticket']}".encode()

        async def play() -> list[dict[str, Any]]:
            house = Relays(lambda *_: (500, [], b""))

            def connected() -> tuple[list[dict[str, Any]], Any]:
                sent: list[dict[str, Any]] = []
                messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
                messages.put_nowait({"type": "websocket.connect"})

                async def send(message: dict[str, Any]) -> None:
                    sent.append(message)

                return sent, asyncio.ensure_future(house.connect(scope, messages.get, send))

            first, ending = connected()
            while not first:
                await asyncio.sleep(0.01)
            _, second = connected()
            await asyncio.wait({ending}, timeout=60)
            second.cancel()
            await asyncio.wait({second})
            assert ending.done()
            return first

        assert [message["type"] for message in asyncio.run(play())] == ["websocket.accept", "websocket.close"]


class TestService:
    def test_a_member_is_told_where(self, rig: Rig, task: Task, alice: Any, api: Any) -> None:
        offer = running_on(rig)
        body = api(alice).get(f"/api/v1/tasks/{task.pk}/service/").json()
        assert body == {"attempt": offer["id"], "url": f"/api/v1/tasks/{task.pk}/service/"}

    def test_an_outsider_finds_none(self, rig: Rig, task: Task, charlie: Any, api: Any) -> None:
        running_on(rig)
        refused(api(charlie).get(f"/api/v1/tasks/{task.pk}/service/"), 404)

    def test_it_serves_only_while_it_runs(self, rig: Rig, task: Task, alice: Any, api: Any) -> None:
        refused(api(alice).get(f"/api/v1/tasks/{task.pk}/service/"), 409, "not_serving")
        rig.finish(running_on(rig))
        refused(api(alice).get(f"/api/v1/tasks/{task.pk}/service/"), 409, "not_serving")
        assert Attempt.objects.count() == 1


class TestSpec:
    @pytest.mark.parametrize("serve", ["yes", 1, {"port": 80}, None], ids=str)
    def test_it_takes_true_alone(self, alice: Any, api: Any, serve: Any) -> None:
        body = a_body(spec={"command": ["x"], "serve": serve})
        refused(api(alice).post("/api/v1/tasks/", body, format="json"), 400, "invalid", "spec.serve")

    def test_a_program_in_an_image_serves_too(self, alice: Any, api: Any) -> None:
        body = a_body(spec={"command": ["x"], "serve": True, "image": "x"})
        taken = api(alice).post("/api/v1/tasks/", body, format="json")
        assert (taken.status_code, taken.json()["spec"]["serve"]) == (201, True)
