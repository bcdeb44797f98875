"""The platform on each set of peers that it is meant for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests import peers
from tests.systems.house import House, Up
from tests.systems.relay import Relay
from tests.systems.separate import Separate

KINDS = {"up": "SQLite, one process", "redis": "PostgreSQL and Redis", "rabbitmq": "PostgreSQL and RabbitMQ"}


@contextmanager
def lent(
    kind: str,
    folder: Path,
    environment: dict[str, str] | None = None,
    *,
    agents: int = 1,
    gpus: int = 2,
    is_cuttable: bool = False,
    has_fronts: bool = False,
    config: str = "",
) -> Iterator[House]:
    """Open a house of a kind and end it. `agents` is for those with processes of their own.

    Its broker is always one of its own, since two platforms on one broker would do each other's work. With
    `is_cuttable` a wire leads there: `house.wire.cut()`. For `has_fronts` and `config` see Separate. Raises
    peers.Missing.
    """
    environment = environment or {}
    if kind == "up":
        with Up(folder, environment, gpus=gpus) as house:
            yield house
        return
    lend = peers.redis if kind == "redis" else peers.rabbitmq
    with peers.postgresql() as database, lend(own=True) as broker:
        wire = Relay(broker.port) if is_cuttable else None
        try:
            address = _through(broker.url, wire)
            ours = {"BROKER_URL": address}
            if kind == "redis":
                ours["CACHE_URL"] = urlsplit(address)._replace(path="/1").geturl()
            house = Separate(
                folder,
                {**ours, **environment},
                server=database.url,
                agents=agents,
                gpus=gpus,
                has_fronts=has_fronts,
                config=config,
            )
            house.broker, house.wire = broker, wire
            with house:
                yield house
        finally:
            if wire is not None:
                wire.end()


def _through(url: str, wire: Relay | None) -> str:
    if wire is None:
        return url
    return url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")


def flush(house: House) -> None:
    """Make the house's broker forget every message."""
    broker = house.broker
    if broker is None:
        return
    if broker.name == "redis":
        import redis

        with redis.Redis.from_url(broker.url) as client:
            client.flushall()
        return
    import pika

    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        for queue in ("dispatch", "sweep", "mail", "default"):
            channel = connection.channel()
            try:
                channel.queue_purge(queue)
            except pika.exceptions.ChannelClosedByBroker:
                continue  # nobody has sent there yet
