"""Images: pulled, refused, private."""

from __future__ import annotations

import pytest

from gpus.tests.agent.host import Host
from tests.systems.containers.hosts import end_of, offer, said
from tests.systems.registry import Registry


class TestImages:
    def test_it_pulls_an_image(self, shared: Host, registry: Registry) -> None:
        work = offer(shared, "echo from a registry", payload={"image": registry.image("box")})
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert "from a registry" in said(work)

    def test_an_image_that_does_not_exist_is_the_users(self, shared: Host, registry: Registry) -> None:
        end = end_of(shared, offer(shared, "true", payload={"image": registry.image("absent")}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "user", "image_not_found")
        assert "absent" in end["detail"]

    @pytest.mark.long
    def test_a_registry_that_does_not_answer_is_not(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, "true", payload={"image": "127.0.0.1:9/box:1"}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", "image_pull_failed")

    @pytest.mark.long
    def test_an_image_that_may_not_be_pulled_is_placed_elsewhere(self, shared: Host, registry: Registry) -> None:
        image = registry.image("never")
        end = end_of(shared, offer(shared, "true", payload={"image": image, "image_pull": "never"}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", "image_missing")

    def test_a_private_image_needs_the_log_in_of_whoever_uses_it(self, shared: Host, closed: Registry) -> None:
        image = closed.image("box")
        end = end_of(shared, offer(shared, "true", payload={"image": image}))
        assert (end["fault"], end["code"]) == ("user", "image_denied")
        work = offer(shared, "echo let in", payload={"image": image}, registry=closed.login)
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        # It lies on the host now, and is still for nobody else.
        end = end_of(shared, offer(shared, "true", payload={"image": image}))
        assert (end["fault"], end["code"]) == ("user", "image_denied")
        wrong = closed.login | {"password": "guessed"}
        end = end_of(shared, offer(shared, "true", payload={"image": image}, registry=wrong))
        assert (end["fault"], end["code"]) == ("user", "image_denied")

    @pytest.mark.long
    def test_its_password_stays_nowhere(self, shared: Host, closed: Registry) -> None:
        work = offer(shared, "env; sleep 3", payload={"image": closed.image("box")}, registry=closed.login)
        shared.started(work)
        kept = [path for path in shared.state.rglob("*") if path.is_file()]
        assert not [path for path in kept if closed.password.encode() in path.read_bytes()]
        end_of(shared, work)
        assert closed.password not in said(work) + shared.said()
