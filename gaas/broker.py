"""Where actors' messages go, by BROKER_URL: memory:// (this process), redis:// or amqp://."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

# AdminMiddleware is left out: its Task table is unreliable, and staff would see two kinds of "Task".
MIDDLEWARE = [
    "dramatiq.middleware.AgeLimit",
    "dramatiq.middleware.TimeLimit",
    "dramatiq.middleware.ShutdownNotifications",
    "dramatiq.middleware.Callbacks",
    "dramatiq.middleware.Retries",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
]

# A Redis that hangs must not hold up who sends to it: the rows say what is due. Seconds.
REDIS_TIMEOUTS = {"socket_connect_timeout": 2, "socket_timeout": 2}

# How often, in ms, an idle worker asks Redis: with Dramatiq's own second a dispatch takes 0.4 s, with this 0.07 s.
# By the environment, since `rundramatiq` becomes another program, which reads it there.
os.environ.setdefault("dramatiq_worker_timeout", "10")


def dramatiq_broker(url: str) -> dict[str, Any]:
    """Give the whole DRAMATIQ_BROKER setting for a broker's address.

    Raises ValueError for a scheme that is none of memory, redis, rediss, amqp, amqps.
    """
    scheme = urlsplit(url).scheme
    options: dict[str, Any]
    if scheme == "memory":
        broker, options = "dramatiq.brokers.stub.StubBroker", {}
    elif scheme in {"redis", "rediss"}:
        broker, options = "dramatiq.brokers.redis.RedisBroker", {"url": _impatient(url)}
    elif scheme in {"amqp", "amqps"}:
        broker = "dramatiq.brokers.rabbitmq.RabbitmqBroker"
        # Without it a message that the server never took is silently gone.
        options = {"url": url, "confirm_delivery": True}
    else:
        raise ValueError(f"BROKER_URL begins with {scheme!r}; give memory://, redis://… or amqp://…")
    return {"BROKER": broker, "OPTIONS": options, "MIDDLEWARE": MIDDLEWARE}


def _impatient(url: str) -> str:
    """Add the time-outs that a Redis address does not name itself."""
    parts = urlsplit(url)
    return parts._replace(query=urlencode(REDIS_TIMEOUTS | dict(parse_qsl(parts.query)))).geturl()
