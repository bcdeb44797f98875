"""The API document and the API agree: what schemathesis makes of the one is sent to the other.

For each operation, as nobody, a user and staff: bodies and parameters that the document allows, and such that it
forbids, to rows that there are and to such that there are not. A fixed seed, so that a failure comes again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as conformance

from accounts.services import tokens
from gaas.tests.matrix_calls import CALLS, NOTE, Call
from gaas.tests.matrix_world import World, a_world
from gaas.wsgi import application

SEED = 20_260
# Of each kind of case, for each caller and operation; `make test-schema-long` takes more.
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "8"))
# Past which one case of each kind has to do, so that all operations are asked within four minutes on a slow machine.
SECONDS = int(os.environ.get("SCHEMA_SECONDS", "200"))
CALLERS = {"nobody": "nobody", "a user": "owner", "staff": "superuser"}
WHOLE = conformance.response_schema_conformance
CHECKS = [
    not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    WHOLE,
    conformance.negative_data_rejection,
    conformance.missing_required_header,
]
MOST_TOLD = 20


def operations(**changed: Any) -> list[Any]:
    document = SchemaGenerator(api_version="v1").get_schema(request=None, public=True)
    for path, answers in changed.items():
        document["paths"][path]["post"]["responses"] = answers
    schema = schemathesis.openapi.from_dict(document)
    schema.app = application
    return [found.ok() for found in schema.get_all_operations()]


OPERATIONS = operations()
BEGAN = time.monotonic()


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with a_world(django_db_blocker) as world:
        yield world


@contextmanager
def the_connection_kept() -> Iterator[None]:
    """Let no request close the connection, which would end its transaction; Django's own client does the same."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def key_of(operation: Any) -> str:
    return f"{operation.method.upper()} {operation.path.removeprefix('/api/')}"


def rows_of(operation: Any, world: World) -> dict[str, str]:
    """Give the ids of rows that there are, for the placeholders of the path."""
    found = [call for key, call in CALLS.items() if _documented(key.partition(NOTE)[0]) == key_of(operation)]
    rows = (found[0] if found else Call()).rows
    return {_documented(name): str(world.rows[row].pk) for name, row in rows.items()}


def _documented(text: str) -> str:
    """Write a placeholder as the document has it."""
    return re.sub(r"\bpk\b", "id", text)


def go(operation: Any, mode: GenerationMode, world: World, caller: str, told: list[str], **fixed: Any) -> None:
    headers = {"Accept-Encoding": "identity"}
    if user := world.users.get(CALLERS[caller]):
        # A log-in of this moment: an access token lives ten minutes, and all operations together may take longer.
        headers["Authorization"] = f"Bearer {tokens.open_log_in(user=user).access}"

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES if time.monotonic() - BEGAN < SECONDS else 1,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode, **fixed))
    def send(case: Any) -> None:
        cache.clear()
        with the_connection_kept(), transaction.atomic():
            try:
                # With `?fields=` an answer lacks what the document calls required.
                is_sparse = "fields" in (case.query or {})
                checks = [check for check in CHECKS if not (is_sparse and check is WHOLE)]
                case.call_and_validate(headers=headers, checks=checks)
            except FailureGroup as group:
                told.extend(f"{caller}: {type(it).__name__} {it}\n{case.as_curl_command()}" for it in group.exceptions)
            finally:
                transaction.set_rollback(True)

    try:
        send()
    except Unsatisfiable:
        # No parameter and no body: there is nothing that the document could forbid.
        assert mode is GenerationMode.NEGATIVE, operation


@pytest.mark.django_db  # pytest-django makes a database only where a test is marked
@pytest.mark.systems
class TestSchema:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=key_of)
    def test_it_says_what_the_server_does(self, world: World, operation: Any) -> None:
        told: list[str] = []
        for caller in CALLERS:
            for mode in GenerationMode:
                go(operation, mode, world, caller, told)
                if rows := rows_of(operation, world):
                    go(operation, mode, world, caller, told, path_parameters=rows)
        if told:
            pytest.fail("\n\n".join(told[:MOST_TOLD]), pytrace=False)

    def test_it_would_tell(self, world: World) -> None:
        path, told = "/api/v1/auth/token/", []
        wrong = operations(**{path: {"200": {"description": "All is well."}}})
        (operation,) = (found for found in wrong if found.path == path)
        go(operation, GenerationMode.POSITIVE, world, "nobody", told)
        assert "UndefinedStatusCode" in told[0]
