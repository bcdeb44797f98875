"""Hosts of a person's own account stay theirs to run, wherever that account stands."""

from __future__ import annotations

import pytest

from accounts.models import Account, User
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device, an_active_host

pytestmark = pytest.mark.django_db


def may_run(user: User) -> tuple[bool, bool]:
    host = Host.objects.select_related("account").get()
    gpu = GPU.objects.select_related("host__account").get()
    return host.may_be_run_by(user), gpu.may_be_run_by(user)


def test_who_manages_above_runs_none_of_a_person_s_own(family: Account, pat: User, olga: User) -> None:
    own = olga.personal_account
    an_active_host(own, a_device(), name="attic")
    assert may_run(olga) == (True, True)
    Account.objects.filter(pk=own.pk).update(parent=family, path=f"{family.path}{own.pk}/")
    assert may_run(olga) == (True, True)
    assert may_run(pat) == (False, False)


def test_and_all_of_an_organisation_s(family: Account, child: Account, pat: User) -> None:
    an_active_host(child, a_device(), name="rack")
    assert may_run(pat) == (True, True)
