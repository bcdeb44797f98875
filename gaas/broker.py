"""Where actors' messages go, by BROKER_URL: memory:// (this process), redis:// or amqp://."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

# AdminMiddleware is left out: its Task table is unreliable, and staff would see two kinds of "Task".
MIDDLEWARE = [
    "dramatiq.middleware.AgeLimit",
    "dramatiq.middleware.TimeLimit",
    "dramatiq.middleware.ShutdownNotifications",
    "dramatiq.middleware.Callbacks",
    "dramatiq.middleware.Retries",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
]


def dramatiq_broker(url: str) -> dict[str, Any]:
    """Give the whole DRAMATIQ_BROKER setting for a broker's address.

    Raises ValueError for a scheme that is none of memory, redis, rediss, amqp, amqps.
    """
    scheme = urlsplit(url).scheme
    options: dict[str, Any]
    if scheme == "memory":
        broker, options = "dramatiq.brokers.stub.StubBroker", {}
    elif scheme in {"redis", "rediss"}:
        broker, options = "dramatiq.brokers.redis.RedisBroker", {"url": url}
    elif scheme in {"amqp", "amqps"}:
        broker = "dramatiq.brokers.rabbitmq.RabbitmqBroker"
        # Without it a message that the server never took is silently gone.
        options = {"url": url, "confirm_delivery": True}
    else:
        raise ValueError(f"BROKER_URL begins with {scheme!r}; give memory://, redis://… or amqp://…")
    return {"BROKER": broker, "OPTIONS": options, "MIDDLEWARE": MIDDLEWARE}
