"""The groups of staff: each may open just the pages that its work needs."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.urls import reverse

from gaas.groups import GROUPS
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db


def listed(group: Group) -> set[str]:
    found = group.permissions.values_list("content_type__app_label", "codename")
    return {f"{label}.{codename}" for label, codename in found}


@pytest.fixture(params=sorted(GROUPS))
def group(request: pytest.FixtureRequest) -> Group:
    return Group.objects.get(name=request.param)


@pytest.fixture
def clerk(group: Group):
    user = make_user("Clerk", is_staff=True)
    user.groups.add(group)
    return user


class TestGroups:
    def test_migrate_made_them_with_their_permissions(self, group):
        assert listed(group) == GROUPS[group.name]

    def test_every_permission_listed_is_one(self):
        known = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
        assert frozenset().union(*GROUPS.values()) <= known

    def test_made_again_they_are_whole_and_nothing_is_taken_away(self, group, alice):
        alice.groups.add(group)
        group.permissions.remove(group.permissions.first())
        extra = Permission.objects.get(codename="delete_user")
        group.permissions.add(extra)
        call_command("migrate", verbosity=0)
        assert listed(group) == {*GROUPS[group.name], "accounts.delete_user"}
        assert list(group.user_set.all()) == [alice]

    def test_auditors_change_nothing(self):
        assert all(name.partition(".")[2].startswith("view_") for name in GROUPS["Auditors"])

    def test_they_open_their_pages_and_no_others(self, client, group, clerk):
        client.force_login(clerk)
        assert client.get(reverse("admin:index")).status_code == 200
        for model, page in admin.site._registry.items():
            meta = model._meta
            may = clerk.has_perm(f"{meta.app_label}.view_{meta.model_name}")
            answer = client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"))
            assert answer.status_code == (200 if may else 403), meta.label
            adds = clerk.has_perm(f"{meta.app_label}.add_{meta.model_name}") and page.has_add_permission(
                answer.wsgi_request
            )
            answer = client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_add"))
            assert answer.status_code == (200 if adds else 403), meta.label

    def test_what_they_may_view_has_a_page_or_stands_on_one(self, group):
        registered = {model._meta.label_lower for model in admin.site._registry}
        inline = {"accounts.membership", "payments.paymentevent", "payments.payoutevent", "tasks.taskevent"}
        for name in listed(group):
            label, _, codename = name.partition(".")
            verb, _, model = codename.partition("_")
            if verb == "view":
                assert f"{label}.{model}" in registered | inline, name
                assert apps.get_model(label, model)
