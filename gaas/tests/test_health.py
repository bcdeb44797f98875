from __future__ import annotations

import math
import re
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from gaas import health
from gaas.lib import clock
from gaas.tests.s3 import keep_files_at
from tasks.models import Scheduler


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer of another test be kept, forget checks that a test adds, and give a busy machine its time."""
    monkeypatch.setattr(health, "_kept", (-math.inf, {}))
    monkeypatch.setattr(health, "CHECK_SECONDS", 30)
    monkeypatch.setattr(health, "_checks", dict(health._checks))


class TestLivez:
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_it_answers_without_a_database(self, method: str) -> None:
        answer = getattr(Client(), method)("/livez")
        assert answer.status_code == 200
        assert answer["X-Request-ID"]

    def test_it_answers_a_probe_by_address(self) -> None:
        assert Client().get("/livez", HTTP_HOST="10.1.2.3").status_code == 200

    def test_it_takes_no_other_method(self) -> None:
        assert Client().post("/livez").status_code == 405


@pytest.mark.django_db
class TestReadyz:
    def test_it_is_ready_when_all_is_there(self) -> None:
        answer = Client().get("/readyz")
        assert answer.status_code == 200, answer.content
        body = answer.json()
        assert body["status"] == "ok"
        assert set(body["checks"]) >= {"database", "broker", "cache", "storage"}
        assert answer["Cache-Control"]

    def test_it_names_what_is_away_and_nothing_more(self, tmp_path: Any) -> None:
        (tmp_path / "very-secret-place").write_text("no folder")
        with keep_files_at(f"file://{tmp_path}/very-secret-place/storage"):
            answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["storage"] == "does not answer"
        assert b"secret" not in answer.content

    def test_it_says_what_a_registered_check_says(self) -> None:
        health.register("ice", lambda: "melted")
        answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["ice"] == "melted"

    def test_it_waits_no_longer_than_it_says_for_a_peer_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "CHECK_SECONDS", 0.3)
        silent = socket.create_server(("127.0.0.1", 0))

        def check() -> None:
            with socket.create_connection(silent.getsockname()) as peer:
                peer.recv(1)

        health.register("peer", check)
        answer = Client().get("/readyz")  # while the peer still says nothing
        silent.close()
        assert answer.status_code == 503
        assert answer.json()["checks"]["peer"] == "does not answer in time"

    def test_it_asks_its_peers_now_and_then_however_often_it_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "KEEP_SECONDS", 60)
        asked = []
        health.register("counter", lambda: asked.append(1))
        for _ in range(10):
            assert Client().get("/readyz").status_code == 200
        assert len(asked) == 1


@pytest.mark.django_db(transaction=True)
class TestScheduler:
    @pytest.mark.parametrize(("age", "state"), [(1, "ok"), (3600, r"no pass for 36\d\d seconds")])
    def test_it_says_when_the_last_pass_is_long_ago(self, age: int, state: str) -> None:
        moment = clock.now() - timedelta(seconds=age)
        Scheduler.objects.update_or_create(pk=1, defaults={"last_pass_at": moment, "last_sweep_at": None})
        assert re.fullmatch(state, Client().get("/readyz").json()["checks"]["scheduler"])

    def test_it_blames_nobody_for_a_pass_that_never_was(self) -> None:
        Scheduler.objects.filter(pk=1).update(last_pass_at=None, last_sweep_at=None)
        assert Client().get("/readyz").status_code == 200
