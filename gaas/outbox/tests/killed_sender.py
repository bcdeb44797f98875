"""Kill a sender while its receiver holds the call, then send again.

Run by test_webhooks.py as a process of its own, so that it may fork: the database is that of DATABASE_URL, migrated
before. Prints one JSON object: of each call that came, the event's id and the attempt; what became of the delivery.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading

import django

django.setup()

from django.db import connections  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from accounts.models import Account  # noqa: E402
from gaas.lib import clock  # noqa: E402
from gaas.lib.net.tests.receivers import OK, Receiver, receiver  # noqa: E402
from gaas.outbox.models import Webhook, WebhookDelivery  # noqa: E402
from gaas.outbox.services import tell, webhooks  # noqa: E402
from gaas.outbox.tests.hooks import a_webhook, inside  # noqa: E402


def main() -> None:
    setup_test_environment()
    has_come, is_dead = threading.Event(), threading.Event()

    def behave(connection: socket.socket, hook: Receiver) -> None:
        hook.read(connection)
        has_come.set()
        is_dead.wait(60)
        connection.sendall(OK)

    account = Account.objects.create(name="Killed")
    with receiver(behave) as hook:
        a_webhook(account, port=hook.port)
        tell(event="task.completed", account=account, data={}, now=clock.now())
        connections.close_all()
        child = os.fork()
        if child == 0:
            webhooks.send_due(guard=inside)
            os._exit(0)
        assert has_come.wait(60), "the child never called"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        is_dead.set()
        at_once = webhooks.send_due(guard=inside)
        # Its lease runs out, and the next attempt is due.
        WebhookDelivery.objects.update(due_at=clock.now())
        Webhook.objects.update(busy_until=clock.now())
        later = webhooks.send_due(guard=inside)
        calls = [[request.headers["gaas-event-id"], request.headers["gaas-attempt"]] for request in hook.received]
    status = WebhookDelivery.objects.get(webhook__account=account).status
    print(json.dumps({"calls": calls, "at_once": at_once, "later": later, "status": status}))


if __name__ == "__main__":
    main()
