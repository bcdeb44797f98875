"""Roles × verbs of accounts, as one table."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts import services
from accounts.choices import Role
from accounts.models import Account, Membership
from gaas.lib.ids import uuid7
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db

WHO = ("outsider", "viewer", "member", "manager", "owner", "school_member", "school_manager", "school_owner")

# Of each verb, what each of WHO gets, by a client that may see the form or not.
TABLE = {
    "show": (404, 200, 200, 200, 200, 404, 200, 200),
    "transfers": (404, 200, 200, 200, 200, 404, 200, 200),
    "rename": (404, 403, 403, 200, 200, 404, 200, 200),
    "pays_from": (404, 403, 403, 403, 403, 404, 200, 200),
    "unlink": (404, 403, 403, 403, 200, 404, 403, 200),
    "close": (404, 403, 403, 403, 200, 404, 403, 200),
    "children": (404, 200, 200, 200, 200, 404, 200, 200),
    "add_child": (404, 403, 403, 201, 201, 404, 201, 201),
    "members": (404, 200, 200, 200, 200, 404, 200, 200),
    "invite": (404, 403, 403, 201, 201, 404, 201, 201),
    "invite_manager": (404, 403, 403, 201, 201, 404, 201, 201),
    "invite_owner": (404, 403, 403, 403, 201, 404, 403, 201),
    "change_role": (404, 403, 403, 403, 200, 404, 403, 200),
    "remove_member": (404, 403, 403, 204, 204, 404, 204, 204),
    "remove_manager": (404, 403, 403, 403, 204, 404, 403, 204),
    "caps": (404, 200, 200, 200, 200, 404, 200, 200),
    "set_cap": (404, 403, 403, 403, 403, 404, 201, 201),
    "thresholds": (404, 200, 200, 200, 200, 404, 200, 200),
    "set_threshold": (404, 403, 403, 403, 403, 404, 201, 201),
    # These are about the school: the form's people do not see it.
    "fund": (404, 404, 404, 404, 404, 403, 201, 201),
    "reclaim": (404, 404, 404, 404, 404, 403, 201, 201),
    "threshold_of_root": (404, 404, 404, 404, 404, 403, 403, 201),
    # And this about a child of the form, which only those who manage the form see.
    "fund_below": (404, 403, 403, 201, 201, 404, 201, 201),
}


@pytest.fixture
def call(api, school, form, people, settings):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}
    below = Account.objects.create(name="Group", parent=form)
    pupil, tutor = make_user("pupil"), make_user("tutor")
    pupils = Membership.objects.create(account=form, user=pupil, role=Role.MEMBER)
    tutors = Membership.objects.create(account=form, user=tutor, role=Role.MANAGER)
    url = f"/api/v1/accounts/{form.pk}/"
    top = f"/api/v1/accounts/{school.pk}/"
    hours = {"hours": "1"}
    calls = {
        "show": ("get", url, None),
        "transfers": ("get", f"{url}transfers/", None),
        "rename": ("patch", url, {"name": "Form 1"}),
        "pays_from": ("patch", url, {"pays_from": "PARENT"}),
        "unlink": ("patch", url, {"parent": None}),
        "close": ("post", f"{url}close/", {}),
        "children": ("get", f"{url}children/", None),
        "add_child": ("post", f"{url}children/", {"name": "New"}),
        "members": ("get", f"{url}members/", None),
        "invite": ("post", f"{url}members/", {"email": "new@example.test"}),
        "invite_manager": ("post", f"{url}members/", {"email": "new@example.test", "role": "MANAGER"}),
        "invite_owner": ("post", f"{url}members/", {"email": "new@example.test", "role": "OWNER"}),
        "change_role": ("patch", f"{url}members/{pupils.pk}/", {"role": "VIEWER"}),
        "remove_member": ("delete", f"{url}members/{pupils.pk}/", None),
        "remove_manager": ("delete", f"{url}members/{tutors.pk}/", None),
        "caps": ("get", f"{url}caps/", None),
        "set_cap": ("post", f"{url}caps/", {"period": "month", **hours}),
        "thresholds": ("get", f"{url}thresholds/", None),
        "set_threshold": ("post", f"{url}thresholds/", hours),
        "fund": ("post", f"{top}fund/", {"to": str(form.pk), **hours}),
        "reclaim": ("post", f"{top}reclaim/", {"from": str(form.pk), **hours}),
        "threshold_of_root": ("post", f"{top}thresholds/", hours),
        "fund_below": ("post", f"{url}fund/", {"to": str(below.pk), **hours}),
    }

    def run(verb, who):
        method, path, body = calls[verb]
        client = api(people[who])
        if verb == "close":
            Account.objects.filter(pk=below.pk).delete()
        if verb in ("reclaim", "fund_below"):
            services.fund(
                account=school, to=form, asset="GPU", amount=3_600_000, by=people["school_owner"], key=str(uuid7())
            )
        headers = {"Idempotency-Key": str(uuid7())} if method == "post" else {}
        return getattr(client, method)(path, body, format="json", headers=headers)

    return run


@pytest.mark.parametrize("verb", TABLE)
def test_each_role_may_do_what_the_table_says(call, verb):
    for who, wanted in zip(WHO, TABLE[verb], strict=True):
        with transaction.atomic():
            answer = call(verb, who)
            assert answer.status_code == wanted, (who, answer.content)
            transaction.set_rollback(True)
