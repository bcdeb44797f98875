"""Containers whose agent, supervisor or engine went."""

from __future__ import annotations

import os
import signal
import time

import pytest

from gpus.agent.executors.engine import Engine
from gpus.tests.agent.host import Host, is_running, mark, wait_for
from gpus.tests.agent.peer import Work
from tests.systems.containers.engines import IMAGE
from tests.systems.containers.hosts import PATIENCE, containers_of, end_of, offer, said, until_said


def sleeping(host: Host) -> tuple[Work, str]:
    """Have a task that sleeps; gives it with what its `sleep` is known by."""
    host.run()
    number = mark()
    work = offer(host, f"sleep {number}")
    wait_for(lambda: is_running(number), PATIENCE, "the program")
    return work, number


class TestRecovery:
    def test_an_agent_that_was_killed_finds_its_container_again(self, own: Host, engine: Engine) -> None:
        own.run()
        work = offer(own, "echo before; sleep 4; echo after")
        until_said(own, work, "before")
        own.kill()
        own.run()
        end = end_of(own, work)
        assert (end["outcome"], said(work)) == ("SUCCEEDED", "before\nafter\n")
        assert (work.starts, own.starts(work)) == (1, 1)
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    @pytest.mark.long
    def test_an_end_while_no_agent_ran_is_told_later(self, own: Host) -> None:
        own.run()
        work = offer(own, "echo before; sleep 1; echo after; exit 3")
        until_said(own, work, "before")
        own.kill()
        time.sleep(2.5)
        own.run()
        end = end_of(own, work)
        assert (end["exit_code"], said(work)) == (3, "before\nafter\n")

    @pytest.mark.long
    def test_a_supervisor_that_was_killed_takes_its_container_along(self, own: Host, engine: Engine) -> None:
        work, number = sleeping(own)
        os.kill(own.started(work)["supervisor"], signal.SIGKILL)
        end = end_of(own, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "supervisor_lost")
        assert not is_running(number)
        assert not containers_of(engine, work)

    @pytest.mark.long
    def test_no_container_outlives_both_agent_and_supervisor(self, own: Host, engine: Engine) -> None:
        work, number = sleeping(own)
        supervisor = own.started(work)["supervisor"]
        own.kill()
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: not is_running(number), PATIENCE, "the program to end although nobody is there")
        wait_for(lambda: not containers_of(engine, work), PATIENCE, "the container to go")

    @pytest.mark.long
    def test_what_an_earlier_agent_left_is_removed_at_the_start(self, own: Host, engine: Engine) -> None:
        own.run()
        own.kill()
        session = (own.state / "session").read_text().strip()
        for name, agent in {"gaas-left-over": session, "gaas-of-another": "another-agent"}.items():
            engine.remove(name)
            labels = {"gaas.agent": agent, "gaas.attempt": "gone"}
            body = {"Image": IMAGE, "Cmd": ["true"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
            engine.call("POST", "/containers/create", body, query={"name": name})
        own.run()
        wait_for(lambda: engine.inspect("gaas-left-over") is None, what="what was left to go")
        assert engine.inspect("gaas-of-another") is not None
        engine.remove("gaas-of-another")

    @pytest.mark.long
    def test_a_container_that_somebody_removes_is_the_hosts_fault(self, own: Host, engine: Engine) -> None:
        own.run()
        work = offer(own, "echo on; sleep 100")
        until_said(own, work, "on")
        engine.remove(f"gaas-{work.assignment.id}")
        end = end_of(own, work)
        assert (end["outcome"], end["fault"]) == ("FAILED", "host")
