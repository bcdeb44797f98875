"""The people of all tests, as fixtures. Root conftest.py makes them known everywhere.

Alice is a customer, Bob her teammate in the account `lab`, Charlie an outsider, Dana staff with the rights
of an operator, Olga owns GPUs, Pat is the parent who manages `family` above `child`. `api(alice)` is a
client that sends Alice's access token; `api()` sends none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from rest_framework.test import APIClient

from accounts.choices import PaysFrom, Role
from accounts.models import Account, Membership, User
from accounts.services.tokens import open_log_in

PASSWORD = "correct horse battery staple"

# What Dana may do, by app: every staff verb of the platform, without being a superuser.
OPERATED = ["accounts", "ledger", "gpus", "payments", "tasks", "audit", "outbox"]


@lru_cache
def _hashed() -> str:
    # A real hash takes half a second, so it is made once a run.
    return make_password(PASSWORD)


def make_user(name: str, **fields: Any) -> User:
    """Make a user who logs in as <name>@example.test with PASSWORD."""
    return User.objects.create(email=f"{name.lower()}@example.test", name=name, password=_hashed(), **fields)


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    """Begin every test with its throttles at zero."""
    cache.clear()


@pytest.fixture
def alice(db: None) -> User:
    return make_user("Alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("Bob")


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("Charlie")


@pytest.fixture
def dana(db: None) -> User:
    user = make_user("Dana", is_staff=True)
    _permit_all(user)
    return user


def _permit_all(user: User) -> None:
    """Give what OPERATED names, some three hundred permissions, by one statement: `set` takes as long as a test."""
    given = User.user_permissions.through._meta
    wanted = Permission.objects.filter(content_type__app_label__in=OPERATED).values("id")
    chosen, parameters = wanted.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {given.db_table} (user_id, permission_id) SELECT %s, found.id FROM ({chosen}) found",
            [User._meta.pk.get_db_prep_value(user.pk, connection), *parameters],
        )


@pytest.fixture
def olga(db: None) -> User:
    return make_user("Olga")


@pytest.fixture
def pat(db: None) -> User:
    return make_user("Pat")


@pytest.fixture
def root(db: None) -> User:
    """A superuser, for what only one may do."""
    return make_user("Root", is_staff=True, is_superuser=True)


@pytest.fixture
def lab(alice: User, bob: User) -> Account:
    """An organisation that Alice owns and in which Bob is a member."""
    account = Account.objects.create(name="Lab")
    Membership.objects.create(account=account, user=alice, role=Role.OWNER)
    Membership.objects.create(account=account, user=bob, role=Role.MEMBER)
    return account


@pytest.fixture
def family(pat: User) -> Account:
    """An organisation that Pat manages."""
    account = Account.objects.create(name="Family")
    Membership.objects.create(account=account, user=pat, role=Role.MANAGER)
    return account


@pytest.fixture
def child(family: Account, charlie: User) -> Account:
    """An account below `family` that pays from it; Charlie is its member."""
    account = Account.objects.create(name="Child", parent=family, pays_from=PaysFrom.PARENT)
    Membership.objects.create(account=account, user=charlie, role=Role.MEMBER)
    return account


@pytest.fixture
def api() -> Callable[..., APIClient]:
    """Make a client for a user, by a real access token; for nobody without one."""

    def client_of(user: User | None = None) -> APIClient:
        client = APIClient()
        if user is not None:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {open_log_in(user=user).access}")
        return client

    return client_of
