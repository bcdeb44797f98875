"""What tests of API keys share."""

from __future__ import annotations

from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.services import grant_hours, keys
from gaas.lib import clock
from tasks.tests.rig import HOUR

URL = "/api/v1/api-keys/"
ME = "/api/v1/users/me/"
TASKS = "/api/v1/tasks/"
ALL = [scope for scope in Scope.values if scope != Scope.APPROVALS_WRITE]
BODY = {"name": "CI", "scopes": ["tasks:read", "tasks:write"]}


def make(user, *scopes, **terms):
    return keys.create_key(user=user, name="CI", scopes=scopes or ALL, now=clock.now(), **terms)


def caller(text, scheme="Api-Key", **extra):
    return APIClient(HTTP_AUTHORIZATION=f"{scheme} {text}", **extra)


def grant(account):
    grant_hours(account=account, gpu_ms=10 * HOUR, by=None, reason="x", key=f"test:{account.pk}")


def code_of(answer):
    return answer.json()["errors"][0]["code"]


def refused(answer, status, code):
    assert (answer.status_code, code_of(answer)) == (status, code), answer.content
    return True
