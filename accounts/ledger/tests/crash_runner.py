"""Kill a process after each statement of each verb, then look at the books and ask again.

Run by test_crash.py as a process of its own, so that it may fork: the database is that of DATABASE_URL,
migrated before. Prints one JSON object: how many places each verb was killed at, and what was wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import django

django.setup()

from django.db import connection, connections  # noqa: E402

from accounts.ledger import services as ledger  # noqa: E402
from accounts.ledger.models import Balance, Transfer  # noqa: E402
from accounts.ledger.tests.conftest import problems  # noqa: E402

KILLED, DONE = 9, 0
MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class Scene:
    """A payer with 100, a payee, a cap, a hold of 60 and a transfer of 10, all under one name."""

    name: str
    payer: Balance
    payee: Balance
    hold_id: UUID
    transfer_id: UUID
    caps: list


def set_scene(name: str) -> Scene:
    payer = ledger.open_balance(asset="GPU", kind="hours", owner_key=f"acct:{name}")
    payee = ledger.open_balance(asset="GPU", kind="hours", owner_key=f"acct:{name}:payee")
    grant = ledger.platform_balance(asset="GPU", kind="grant")
    ledger.transfer(key=f"{name}:fund", kind="k", debit=grant, credit=payer, amount=110)
    moved = ledger.transfer(key=f"{name}:moved", kind="k", debit=payer, credit=payee, amount=10)
    cap = ledger.open_cap(asset="GPU", owner_key=f"acct:{name}", starts_at=MAY, ends_at=JUNE, limit=100)
    made = ledger.hold(balance=payer, amount=60, key=f"{name}:h", purpose="task", caps=[cap], expires_at=MAY)
    return Scene(name, payer, payee, made.pk, moved.pk, [cap])


def legs(scene: Scene) -> list[ledger.Leg]:
    used = ledger.platform_balance(asset="GPU", kind="used")
    return [
        ledger.Leg(credit=scene.payee, amount=20, kind="k", key=f"{scene.name}:c1"),
        ledger.Leg(credit=used, amount=5, kind="k", key=f"{scene.name}:c2"),
    ]


@dataclass
class Verb:
    """A call, what the payer and payee have afterwards, and whether it may be asked again after its commit."""

    call: Callable[[Scene], object]
    payer: tuple[int, int]
    payee: tuple[int, int] = (10, 0)
    is_keyed: bool = True


VERBS = {
    "open_balance": Verb(
        lambda s: ledger.open_balance(asset="USD", kind="wallet", owner_key=f"acct:{s.name}"), (100, 60)
    ),
    "transfer": Verb(
        lambda s: ledger.transfer(key=f"{s.name}:t", kind="k", debit=s.payer, credit=s.payee, amount=7),
        (93, 60),
        (17, 0),
    ),
    "reverse": Verb(lambda s: ledger.reverse(transfer_id=s.transfer_id, key=f"{s.name}:r"), (110, 60), (0, 0)),
    "hold": Verb(
        lambda s: ledger.hold(balance=s.payer, amount=30, key=f"{s.name}:h2", purpose="task", caps=s.caps), (100, 90)
    ),
    "extend": Verb(lambda s: ledger.extend(hold_id=s.hold_id, amount=30), (100, 90), is_keyed=False),
    "release a part": Verb(lambda s: ledger.release(hold_id=s.hold_id, amount=30), (100, 30), is_keyed=False),
    "release": Verb(lambda s: ledger.release(hold_id=s.hold_id), (100, 0)),
    "expire": Verb(lambda s: ledger.expire(hold_id=s.hold_id, now=JUNE), (100, 0)),
    "capture": Verb(lambda s: ledger.capture(hold_id=s.hold_id, legs=legs(s), final=False), (75, 35), (30, 0)),
    "capture, final": Verb(lambda s: ledger.capture(hold_id=s.hold_id, legs=legs(s), final=True), (75, 0), (30, 0)),
    "take_snapshot": Verb(lambda s: ledger.take_snapshot(), (100, 60)),
}


class Killer:
    """End this process, as a power cut would, once `after` statements have run."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, execute: Callable, sql: str, params: object, many: bool, context: dict) -> object:
        if self.left == 0:
            os._exit(KILLED)
        result = execute(sql, params, many, context)
        self.left -= 1
        if self.left == 0:
            os._exit(KILLED)
        return result


def run_and_die(verb: Verb, scene: Scene, after: int) -> int:
    """Run the verb in a child that dies after so many statements; DONE when it had fewer and committed."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        with connection.execute_wrapper(Killer(after)):
            verb.call(scene)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stored(scene: Scene) -> list[tuple]:
    rows = (Balance.objects.values_list("posted", "held").get(pk=pot.pk) for pot in (scene.payer, scene.payee))
    return list(rows)


def main() -> None:
    wrong: list[str] = []
    killed: dict[str, int] = {}
    for title, verb in VERBS.items():
        after, status = 0, KILLED
        while status != DONE:
            scene = set_scene(f"{title}:{after}")
            status = run_and_die(verb, scene, after)
            if status not in (KILLED, DONE):
                wrong.append(f"{title}: the child ended with {status}")
                break
            wrong += [f"{title}, killed after {after}: {problem}" for problem in problems()]
            # What is one statement on PostgreSQL has committed once it ran: all of it, or none.
            if status == KILLED and stored(scene) not in ([(100, 60), (10, 0)], [verb.payer, verb.payee]):
                wrong.append(f"{title}, killed after {after}: half of it stayed, {stored(scene)}")
            if verb.is_keyed or stored(scene) == [(100, 60), (10, 0)]:
                verb.call(scene)
            if stored(scene) != [verb.payer, verb.payee]:
                wrong.append(f"{title}, asked again after {after}: {stored(scene)}")
            wrong += [f"{title}, asked again after {after}: {problem}" for problem in problems()]
            after += 1
        killed[title] = after - 1
    print(json.dumps({"killed": killed, "wrong": wrong, "transfers": Transfer.objects.count()}))


if __name__ == "__main__":
    main()
