"""How a host comes to be, and how its agent gets its secret."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import Account
from gaas.audit.services import record
from gaas.lib.errors import DomainError
from gpus import credentials
from gpus.agent.protocol import HostFacts
from gpus.models import Host
from gpus.services.protocols import check_protocol


class InvalidJoinToken(DomainError):
    """State that a join token is unknown, used or too old, without telling which."""

    code = "invalid_join_token"


@transaction.atomic
def register_host(
    *,
    account: Account,
    name: str,
    by: Any,
    region: str = "",
    labels: dict[str, str] | None = None,
    is_local: bool = False,
    now: datetime,
) -> tuple[Host, str]:
    """Add a host to an account; returns it with the join token, which is not kept and cannot be read again."""
    token = credentials.new_join_token()
    host = Host.objects.create(
        account=account,
        name=name,
        region=region,
        labels=labels or {},
        is_local=is_local,
        join_token_hash=credentials.digest(token),
        join_token_expires_at=now + timedelta(seconds=settings.JOIN_TOKEN_SECONDS),
    )
    record(action="host.register", obj=host, by=by, after={"name": name, "region": region}, now=now)
    return host, token


def wake_hosts(host_ids: Iterable[UUID]) -> None:
    """Have these hosts ask again what they should run, inside the transaction that changed it."""
    Host.objects.speaking().filter(pk__in=set(host_ids)).bump()


def open_local_host(*, now: datetime) -> tuple[Host, str]:
    """Give the server's own machine as a host of the platform, with a fresh join token for its agent.

    There is one at a time; its GPUs are listed as they appear (see inventory).
    """
    host = Host.objects.speaking().filter(is_local=True).first()
    if host is not None:
        return host, host.reissue_join_token(by=None, now=now)
    return register_host(account=Account.platform(), name=platform.node() or "local", by=None, is_local=True, now=now)


@transaction.atomic
def join(*, token: str, facts: HostFacts, protocol: int, now: datetime) -> tuple[Host, str]:
    """Exchange a join token for the host's secret; returns both, the secret for the only time.

    One conditional UPDATE takes the token, so of parallel joins exactly one gets a secret. An agent that
    was there before is locked out, and the new one starts a session of its own at once.

    Raises InvalidJoinToken, ProtocolTooOld, ProtocolTooNew.
    """
    check_protocol(protocol)
    secret = credentials.new_secret()
    waiting = Host.objects.speaking().filter(join_token_hash=credentials.digest(token), join_token_expires_at__gt=now)
    if not waiting.update(
        join_token_hash="",
        join_token_expires_at=None,
        secret_hash=credentials.digest(secret),
        session=None,
        seq=0,
        conflict_session=None,
        conflict_at=None,
        protocol=protocol,
        updated_at=now,
        **asdict(facts),
    ):
        raise InvalidJoinToken(
            "This join token is unknown, used or older than"
            f" {settings.JOIN_TOKEN_SECONDS / 60:g} minutes: ask the host's owner for a new one.",
            attr="token",
        )
    host = Host.objects.select_related("account").get(secret_hash=credentials.digest(secret))
    record(action="host.join", obj=host, by=None, after={"hostname": facts.hostname}, now=now)
    return host, secret
