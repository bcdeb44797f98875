from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from accounts import services
from accounts.choices import Role
from accounts.models import ApprovalThreshold, BudgetAlert, CapRule, Invitation, LowMark, Membership
from accounts.tests.conftest import HOUR
from accounts.tests.test_admin import button, messages_of
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def support(client):
    user = make_user("Sam", is_staff=True)
    user.groups.add(Group.objects.get(name="Support"))
    client.force_login(user)
    return user


@pytest.fixture
def save(client, form):
    """Post the page of the form as a browser does, with members as they are but for changes."""

    def post(*members, **fields):
        rows = list(form.memberships.order_by("pk"))
        data = {
            "name": form.name,
            "pays_from": form.pays_from,
            "memberships-TOTAL_FORMS": len(rows) + len(members),
            "memberships-INITIAL_FORMS": len(rows),
            "cap_rules-TOTAL_FORMS": 0,
            "cap_rules-INITIAL_FORMS": 0,
            "approval_thresholds-TOTAL_FORMS": 0,
            "approval_thresholds-INITIAL_FORMS": 0,
        }
        for number, row in enumerate([*rows, *members]):
            prefix = f"memberships-{number}"
            data |= {f"{prefix}-id": row.pk if number < len(rows) else "", f"{prefix}-user": row.user_id}
            data |= {f"{prefix}-role": row.role, f"{prefix}-account": form.pk}
            for name, value in fields.pop(str(row.pk), {}).items():
                data[f"{prefix}-{name}"] = value
        url = reverse("admin:accounts_account_change", args=[form.pk])
        return client.post(url, {**data, **fields}, follow=True)

    return post


class TestPages:
    def test_they_open(self, client, root, form, head, people):
        services.set_cap(account=form, asset="GPU", period="month", limit=HOUR, by=head, now=clock.now())
        services.set_threshold(account=form, asset="USD", above=5_000_000, by=head)
        services.invite(account=form, email="x@example.test", role=Role.MEMBER, by=head, now=clock.now())
        BudgetAlert.objects.create(account=form, key="k", percent=80, detail="80 % are used")
        client.force_login(root)
        services.set_low_mark(account=form, asset="GPU", below=HOUR, by=head)
        for model in (Invitation, CapRule, ApprovalThreshold, BudgetAlert, LowMark):
            name = f"admin:accounts_{model._meta.model_name}"
            row = model.objects.get()
            assert client.get(reverse(f"{name}_changelist")).status_code == 200
            assert client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        page = client.get(reverse("admin:accounts_account_change", args=[form.pk])).content.decode()
        assert "1.000000 h a month" in page
        assert "5.000000 USD" in page


class TestVerbs:
    def test_a_cap_is_set_and_lifted(self, client, support, form):
        button(client, form, "set_cap", asset="GPU", amount="2.5", period="week")
        rule = CapRule.objects.get()
        assert (rule.limit, rule.period) == (9_000_000, "week")
        button(client, rule, "lift", post="yes")
        assert not CapRule.objects.exists()

    def test_a_bad_amount_is_an_error_of_the_form(self, client, support, form):
        answer = button(client, form, "set_cap", asset="GPU", amount="-1", period="week")
        assert "amount" in answer.context["form"].errors

    def test_a_threshold_is_set_and_removed(self, client, support, form):
        button(client, form, "set_threshold", asset="USD", amount="3")
        threshold = ApprovalThreshold.objects.get()
        assert threshold.above == 3_000_000
        button(client, threshold, "remove", post="yes")
        assert not ApprovalThreshold.objects.exists()

    def test_an_account_is_closed(self, client, support, form, school):
        button(client, form, "close", reason="The year is over")
        form.refresh_from_db()
        assert form.closed_at
        answer = button(client, school, "close", reason="Bankrupt")
        assert any("children" in text or "USD" in text for text in messages_of(answer))

    def test_an_invitation_is_withdrawn(self, client, support, form, head):
        made = services.invite(account=form, email="x@example.test", role=Role.MEMBER, by=head, now=clock.now())
        button(client, made, "revoke", post="yes")
        made.refresh_from_db()
        assert not made.is_open

    def test_finance_and_auditors_have_no_such_buttons(self, client, form):
        for name in ("Finance", "Auditors"):
            user = make_user(name, is_staff=True)
            user.groups.add(Group.objects.get(name=name))
            client.force_login(user)
            assert button(client, form, "close").status_code == 403


class TestMembers:
    def test_one_is_added_with_a_trace(self, save, support, form, charlie):
        save(Membership(user=charlie, role=Role.MANAGER))
        assert form.role_of(charlie) == Role.MANAGER
        assert AuditEvent.objects.get(action="member.add").actor == support

    def test_a_role_is_changed_with_a_trace(self, save, support, form, people):
        member = form.memberships.get(user=people["member"])
        save(**{str(member.pk): {"role": "MANAGER"}})
        assert form.role_of(people["member"]) == Role.MANAGER
        assert AuditEvent.objects.filter(action="member.change_role").count() == 1

    def test_one_is_removed(self, save, support, form, people):
        member = form.memberships.get(user=people["member"])
        save(**{str(member.pk): {"DELETE": "on"}})
        assert form.role_of(people["member"]) is None

    def test_the_last_owner_stays(self, save, support, form, school, people):
        school.memberships.all().delete()
        owner = form.memberships.get(user=people["owner"])
        answer = save(**{str(owner.pk): {"DELETE": "on"}})
        assert any("no owner" in text for text in messages_of(answer))
        assert form.role_of(people["owner"]) == Role.OWNER

    def test_a_new_name_leaves_a_trace(self, save, support, form):
        save(name="Form 1")
        form.refresh_from_db()
        assert form.name == "Form 1"
        assert AuditEvent.objects.get(action="account.rename").actor == support
