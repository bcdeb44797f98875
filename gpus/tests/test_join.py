from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from gaas.lib import clock
from gpus import services
from gpus.agent.protocol import PROTOCOL
from gpus.choices import HostStatus
from gpus.models import Host
from gpus.tests.fleet import a_joined_host, a_sync, some_facts

URL = "/api/agent/v1/join"


@pytest.fixture
def registered(olga):
    return services.register_host(account=olga.personal_account, name="rig", by=olga, now=clock.now())


def request_of(token, **changes):
    return {"protocol": PROTOCOL, "token": token, "facts": some_facts().to_wire(), **changes}


def join(token, **changes):
    return services.join(**{"token": token, "facts": some_facts(), "protocol": PROTOCOL, "now": clock.now(), **changes})


@pytest.mark.django_db
class TestJoin:
    def test_it_gives_a_secret_that_opens_the_host(self, api, registered):
        host, token = registered

        answer = api().post(URL, request_of(token), format="json")

        assert answer.status_code == 200, answer.data
        assert answer.data["host_id"] == str(host.pk)
        assert answer.data["secret"].startswith("gaash_")
        host.refresh_from_db()
        assert host.hostname == "rig.example.test"
        assert host.executors == ["process"]
        assert host.status == HostStatus.JOINING
        assert answer.data["secret"] not in str(vars(host))

    def test_it_takes_a_token_once(self, api, registered):
        _, token = registered
        join(token)

        answer = api().post(URL, request_of(token), format="json")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["code"] == "invalid_join_token"
        assert answer.data["errors"][0]["attr"] == "token"

    def test_it_refuses_a_token_that_is_too_old(self, registered, settings):
        _, token = registered

        with pytest.raises(services.InvalidJoinToken):
            join(token, now=clock.now() + timedelta(seconds=settings.JOIN_TOKEN_SECONDS + 1))

    def test_it_refuses_a_token_that_was_replaced(self, registered, olga):
        host, token = registered
        host.reissue_join_token(by=olga, now=clock.now())

        with pytest.raises(services.InvalidJoinToken):
            join(token)

    @pytest.mark.parametrize("token", ["nothing", "", " ", "gaasj_", "x" * 201, "a\x00b", None, 7, ["gaasj_"], {}])
    def test_it_refuses_what_is_no_token(self, api, registered, token):
        answer = api().post(URL, request_of(token), format="json")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"] == "token"
        assert not Host.objects.exclude(secret_hash="").exists()

    def test_it_refuses_the_token_of_a_revoked_host(self, registered, olga):
        host, token = registered
        host.revoke(by=olga, reason="", now=clock.now())

        with pytest.raises(services.InvalidJoinToken):
            join(token)

    @pytest.mark.parametrize("protocol", [0, PROTOCOL + 1])
    def test_it_names_the_side_to_update(self, api, registered, protocol):
        _, token = registered

        answer = api().post(URL, request_of(token, protocol=protocol), format="json")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["code"] == "protocol_unsupported"
        assert "install" in answer.data["errors"][0]["detail"]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("cpu_count", -1),
            ("cpu_count", 2**63),
            ("memory_mib", 1.5),
            ("sandbox", "wish"),
            ("executors", ["shell"]),
            ("hostname", "a\x00"),
            ("os", 3),
        ],
    )
    def test_it_names_the_fact_that_is_wrong(self, api, registered, field, value):
        _, token = registered
        facts = {**some_facts().to_wire(), field: value}

        answer = api().post(URL, request_of(token, facts=facts), format="json")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"].startswith(f"facts.{field}")

    def test_it_locks_out_the_agent_before(self, olga):
        host, old_secret = a_joined_host(olga.personal_account)
        services.hear(host=host, report=a_sync(7), now=clock.now())
        token = host.reissue_join_token(by=olga, now=clock.now())

        again, secret = join(token)

        assert again == host
        assert secret != old_secret
        assert again.session is None
        assert again.status == HostStatus.ACTIVE


@pytest.mark.django_db(transaction=True)
class TestSixteenAtOnce:
    @pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite writes one at a time")
    def test_one_of_them_gets_the_secret(self, registered):
        _, token = registered
        won, lost = [], []
        start = threading.Barrier(16)

        def run():
            start.wait()
            try:
                won.append(join(token)[1])
            except services.InvalidJoinToken:
                lost.append(token)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(won) == 1
        assert len(lost) == 15
        assert Host.objects.exclude(secret_hash="").count() == 1
