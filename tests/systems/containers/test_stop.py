"""Cancels of tasks in containers, and what they leave."""

from __future__ import annotations

import time

from gpus.agent.executors.engine import Engine
from gpus.tests.agent.host import Host, is_running, mark, wait_for
from tests.systems.containers.engines import process_limit
from tests.systems.containers.hosts import (
    MAX_PROCESSES,
    PATIENCE,
    containers_of,
    end_of,
    go_on,
    offer,
    said,
    until_said,
)
from tests.systems.registry import Registry


class TestStop:
    def test_a_cancel_gives_time_to_save(self, shared: Host) -> None:
        script = "trap 'echo saved > $GAAS_OUTPUT/kept; echo saving; exit 0' TERM; echo ready; sleep 100 & wait"
        work = offer(shared, script)
        until_said(shared, work, "ready")
        shared.peer.cancel(work, grace_ms=30_000)
        assert end_of(shared, work)["outcome"] == "CANCELLED"
        assert "saving" in said(work)

    def test_a_cancel_leaves_no_fork_bomb_and_no_daemon(self, shared: Host, engine: Engine) -> None:
        number = mark()
        script = f"""
            setsid sleep {number} </dev/null >/dev/null 2>&1 &
            trap '' TERM
            bomb() {{ bomb | bomb & sleep 0.2; }}
            echo ready
            until [ -e go ]; do sleep 0.1; done
            (while true; do (bomb) 2>/dev/null; done) &
            echo bombing
            exec sleep 1000
        """
        work = offer(shared, script)
        until_said(shared, work, "ready")
        wait_for(lambda: is_running(number), what="the daemon")
        # Not before it is sure that the machine goes on for everybody.
        [container] = containers_of(engine, work)
        assert process_limit(engine.inspect(container["Id"])["State"]["Pid"]) == MAX_PROCESSES
        go_on(shared, work)
        until_said(shared, work, "bombing")
        time.sleep(1)
        shared.peer.cancel(work, grace_ms=500)
        assert end_of(shared, work)["outcome"] == "CANCELLED"
        assert not is_running(number)
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    def test_what_a_program_leaves_behind_ends_with_it(self, shared: Host) -> None:
        number = mark()
        work = offer(shared, f"setsid sleep {number} </dev/null >/dev/null 2>&1 & sleep 0.5; echo done")
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert not is_running(number)

    def test_a_cancel_ends_a_pull(self, shared: Host, registry: Registry) -> None:
        work = offer(shared, "true", payload={"image": registry.image("stuck")})

        def phases() -> list[str]:
            held = [attempt for sync in shared.peer.syncs[-5:] for attempt in sync["attempts"]]
            return [a["phase"]["text"] for a in held if a["id"] == work.assignment.id and a.get("phase")]

        shared.peer.until(lambda: any("Pulling" in text for text in phases()), PATIENCE, "the pull to be told")
        assert work.starts == 0
        shared.peer.cancel(work)
        assert end_of(shared, work)["outcome"] == "CANCELLED"
