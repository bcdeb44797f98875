"""What must hold between worker processes: a real server with four of them, on PostgreSQL and Redis, over sockets."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests import peers
from tests.systems.people import Person, newcomer
from tests.systems.separate import Separate

WORKERS, CALLERS, ROUNDS = 4, 12, 12
# What a counter alone would refuse is not what is looked at here.
OFTEN = {"THROTTLE_REFRESH": "100000/min", "THROTTLE_TOKEN": "100000/min", "THROTTLE_TOKEN_ADDRESS": "100000/min"}
# Twelve at one moment may be answered many seconds apart.
GRACE = {"REFRESH_GRACE_SECONDS": "300"}


class FourWorkers(Separate):
    """Nothing but web, as four processes."""

    servers, workers = ("web",), ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, agents=0, **options)
        web = (
            f"-m granian --interface wsgi --host 127.0.0.1 --port {self.port} --workers {WORKERS} --blocking-threads 4"
        )
        self._commands = {"web": ([sys.executable, *web.split(), "--no-ws", "gaas.wsgi:application"], {})}

    def open(self) -> None:
        self._sql("CREATE DATABASE {}")
        self.manage("migrate", "--noinput")
        self.start("web")
        self.await_answers(self.url, "web")

    def answering(self) -> set[int]:
        """Give the processes that hold a caller's connection at this moment."""
        return {
            child.pid
            for child in psutil.Process(self.pid("web")).children(recursive=True)
            for socket in child.net_connections("tcp4")
            if socket.status == psutil.CONN_ESTABLISHED and socket.laddr.port == self.port
        }


@pytest.fixture(scope="module")
def web(postgresql: peers.Peer, redis: peers.Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FourWorkers]:
    environment = {"CACHE_URL": urlsplit(redis.url)._replace(path="/7").geturl(), **OFTEN, **GRACE}
    with FourWorkers(tmp_path_factory.mktemp("four"), environment, server=postgresql.url) as house:
        yield house
        assert house.end() == []


@pytest.fixture(scope="module")
def callers(web: FourWorkers) -> Iterator[list[httpx.Client]]:
    """Twelve connections that stay open, opened at once, and again until several workers have taken some of them."""
    for _ in range(50):
        clients = [httpx.Client(base_url=f"{web.url}/api/v1/", timeout=180, trust_env=False) for _ in range(CALLERS)]
        assert all(answer.is_success for answer in at_once(clients, lambda client: client.get(f"{web.url}/livez")))
        if len(web.answering()) >= 2:
            break
        for client in clients:
            client.close()
    yield clients
    for client in clients:
        client.close()


def at_once(clients: list[httpx.Client], call: Callable[[httpx.Client], httpx.Response]) -> list[httpx.Response]:
    """Have each client call at the same moment."""
    start, answers = threading.Barrier(len(clients)), []

    def send(client: httpx.Client) -> None:
        start.wait()
        answers.append(call(client))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class TestFourWorkers:
    def test_the_calls_reach_several_processes(self, web: FourWorkers, callers: list[httpx.Client]) -> None:
        assert len(web.answering()) >= 2

    def test_of_twelve_refreshes_of_one_token_one_wins(self, web: FourWorkers, callers: list[httpx.Client]) -> None:
        person = newcomer(web.url, "twelve")
        token = _log_in(person)
        for _ in range(ROUNDS):
            body = {"refresh": token}
            answers = at_once(callers, lambda client, body=body: client.post("auth/token/refresh/", json=body))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 401: CALLERS - 1}
            # The winner's is good for the next round: the losers of a moment ago have ended nothing.
            token = next(answer.json()["refresh"] for answer in answers if answer.is_success)

    def test_wrong_log_ins_are_counted_together(self, web: FourWorkers, callers: list[httpx.Client]) -> None:
        guessed, other = newcomer(web.url, "guessed"), newcomer(web.url, "other")
        body = {"email": guessed.email, "password": "not-the-password"}
        statuses: Counter[int] = Counter()
        for client in callers:
            statuses[client.post("auth/token/", json=body).status_code] += 1
        assert statuses == {401: 5, 429: CALLERS - 5}
        right = callers[-1].post("auth/token/", json={"email": guessed.email, "password": guessed.password})
        assert (right.status_code, int(right.headers["Retry-After"]) > 0) == (429, True)
        assert _log_in(other)


def _log_in(person: Person) -> str:
    pair = person.call("POST", "auth/token/", json={"email": person.email, "password": person.password})
    return str(pair["refresh"])
