"""Exchange a join token for this host's credential."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from . import facts
from .backoff import Backoff
from .client import Client, Unreachable
from .config import Config
from .protocol import PROTOCOL, JoinRequest
from .state import Credential, State
from .usable import FIRST_SECONDS, Usable

log = logging.getLogger("gaas.agent")


def token_of(config: Config) -> str:
    """Read the join token from its file or from GAAS_JOIN_TOKEN; empty when there is none."""
    if config.join_token_file:
        try:
            return Path(config.join_token_file).expanduser().read_text().strip()
        except OSError as error:
            log.error("the join token file %s cannot be read: %s", config.join_token_file, error.strerror)
            return ""
    return os.environ.get("GAAS_JOIN_TOKEN", "").strip()


def join(config: Config, state: State, token: str, *, is_sandboxed: bool, closing: threading.Event) -> Credential:
    """Join and keep the credential; try again while the server is not up. Raises Refused.

    A token is good for one join: when the answer is lost the server refuses the next try, and a new
    token has to be issued.
    """
    client = Client(config.server, ca_file=config.ca_file)
    backoff = Backoff(config.backoff_base_seconds, config.backoff_cap_seconds)
    usable = Usable(config, changed=lambda: None)
    usable.ask(FIRST_SECONDS)
    request = JoinRequest(PROTOCOL, token, facts.host_facts(is_sandboxed=is_sandboxed, executors=usable.names()))
    try:
        while True:
            try:
                answer = client.join(request)
                break
            except Unreachable as error:
                if backoff.failures in (0, 5):
                    log.warning("%s does not answer yet (%s); trying again", config.server, error)
                if closing.wait(backoff.next(error.retry_after)):
                    raise
    finally:
        client.close()
    credential = Credential(config.server, answer.host_id, answer.secret)
    state.keep_credential(credential)
    log.info("joined %s as host %s", config.server, answer.host_id)
    return credential
