from __future__ import annotations

from datetime import timedelta

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gpus import credentials, services
from gpus.choices import HostStatus
from gpus.models import Host


@pytest.mark.django_db
class TestRegister:
    def test_it_adds_a_host_that_waits_for_its_agent(self, olga):
        host, token = services.register_host(account=olga.personal_account, name="rig", by=olga, now=clock.now())

        assert host.status == HostStatus.JOINING
        assert token.startswith("gaasj_")
        assert not host.is_reachable(clock.now())

    def test_it_keeps_only_a_hash_of_the_token(self, olga, settings):
        now = clock.now()
        host, token = services.register_host(account=olga.personal_account, name="rig", by=olga, now=now)

        host.refresh_from_db()
        assert host.join_token_hash == credentials.digest(token)
        assert host.join_token_expires_at == now + timedelta(seconds=settings.JOIN_TOKEN_SECONDS)
        assert token not in str(vars(host))

    def test_it_is_audited(self, olga):
        host, _ = services.register_host(account=olga.personal_account, name="rig", by=olga, now=clock.now())

        event = AuditEvent.objects.get(action="host.register")
        assert (event.actor, event.object_id) == (olga, str(host.pk))
        assert event.account_id == str(olga.personal_account.pk)


@pytest.mark.django_db
class TestLocalHost:
    def test_it_belongs_to_the_platform_and_there_is_one(self):
        host, first = services.open_local_host(now=clock.now())
        again, second = services.open_local_host(now=clock.now())

        assert host == again
        assert first != second
        assert host.account.kind == "PLATFORM"
        assert Host.objects.filter(is_local=True).count() == 1

    def test_it_is_made_anew_after_a_revoke(self, root):
        host, _ = services.open_local_host(now=clock.now())
        host.revoke(by=root, reason="compromised", now=clock.now())

        again, _ = services.open_local_host(now=clock.now())

        assert again != host
