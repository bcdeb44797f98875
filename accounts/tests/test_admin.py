from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.urls import reverse

from accounts import services
from accounts.models import Account, QuotaRequest, TokenFamily, User
from accounts.services.tokens import open_log_in
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.ids import uuid7
from gaas.outbox import services as outbox
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


def messages_of(answer):
    return [str(message) for message in answer.context["messages"]]


def ask(account, by, hours=2):
    return services.request_quota(account=account, gpu_ms=hours * HOUR, by=by, reason="A deadline")


def run(client, model, action, objects, follow=True, **fields):
    """Choose an action on the list page; with fields, answer its form too."""
    data = {"action": action, "_selected_action": [str(obj.pk) for obj in objects], **fields}
    if fields:
        data["post"] = "yes"
    return client.post(
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"), data, follow=follow
    )


def button(client, obj, action, **fields):
    """Press a button of a page, or with fields, answer its form."""
    meta = obj._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_{action}", args=[obj.pk])
    return client.post(url, fields, follow=True) if fields else client.get(url)


class TestPages:
    MODELS = ("accounts_user", "accounts_account", "accounts_quotarequest", "accounts_tokenfamily", "auth_group")
    OTHERS = ("audit_auditevent", "outbox_mail")

    @pytest.mark.parametrize("name", [*MODELS, *OTHERS])
    def test_lists_and_forms_open(self, client, root, alice, lab, name):
        ask(lab, alice)
        open_log_in(user=alice)
        outbox.post(to="a@example.test", subject="Hello", template="mail/welcome.txt", context={}, key="k")
        client.force_login(root)
        answer = client.get(reverse(f"admin:{name}_changelist"))
        assert answer.status_code == 200
        for row in answer.context["cl"].result_list[:3]:
            assert client.get(reverse(f"admin:{name}_change", args=[row.pk])).status_code == 200
            assert client.get(reverse(f"admin:{name}_history", args=[row.pk])).status_code == 200
        assert client.get(reverse(f"admin:{name}_changelist"), {"q": "al"}).status_code == 200
        assert client.get(reverse(f"admin:{name}_changelist"), {"q": str(uuid7())}).status_code == 200

    def test_staff_without_permissions_see_nothing(self, client, charlie):
        User.objects.filter(pk=charlie.pk).update(is_staff=True)
        client.force_login(charlie)
        for name in (*self.MODELS, *self.OTHERS):
            assert client.get(reverse(f"admin:{name}_changelist")).status_code == 403

    def test_a_list_of_accounts_costs_the_same_for_many(self, client, root, django_assert_max_num_queries):
        for number in range(20):
            Account.objects.create(name=f"Lab {number}")
        client.force_login(root)
        client.get(reverse("admin:accounts_account_changelist"))
        with django_assert_max_num_queries(12):
            client.get(reverse("admin:accounts_account_changelist"))


class TestUsers:
    def test_one_is_added_by_e_mail_and_gets_an_account(self, client, root):
        client.force_login(root)
        form = {"email": "New@Example.test", "name": "New", "password1": PASSWORD, "password2": PASSWORD}
        answer = client.post(reverse("admin:accounts_user_add"), {**form, "usable_password": "true"}, follow=True)
        assert answer.status_code == 200
        user = User.objects.get(email="new@example.test")
        assert user.check_password(PASSWORD)
        assert services.balances_of(user.personal_account).hours_available == 10 * HOUR

    def test_a_taken_address_is_an_error_of_the_form(self, client, root, alice):
        client.force_login(root)
        form = {"email": "ALICE@example.test", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
        answer = client.post(reverse("admin:accounts_user_add"), form)
        assert answer.status_code == 200
        assert "email" in answer.context["adminform"].form.errors

    def test_no_hash_is_shown(self, client, root, alice):
        client.force_login(root)
        page = client.get(reverse("admin:accounts_user_change", args=[alice.pk])).content.decode()
        assert "pbkdf2" not in page
        assert alice.password not in page
        assert reverse("admin:accounts_user_new_password", args=[alice.pk]) in page

    def test_a_new_password_ends_log_ins(self, client, root, alice):
        token = open_log_in(user=alice).access
        client.force_login(root)
        url = client.get(reverse("admin:accounts_user_new_password", args=[alice.pk])).url
        assert client.get(url).status_code == 200
        new = "another long passphrase"
        form = {"password1": new, "password2": new, "usable_password": "true"}
        assert client.post(url, form).status_code == 302
        alice.refresh_from_db()
        assert alice.check_password(new)
        client.logout()
        assert client.get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401

    def test_staff_cannot_raise_themselves_nor_touch_a_superuser(self, client, dana, root):
        client.force_login(dana)
        form = {"email": dana.email, "name": "Dana", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
        client.post(reverse("admin:accounts_user_change", args=[dana.pk]), form)
        dana.refresh_from_db()
        assert not dana.is_superuser
        assert client.post(reverse("admin:accounts_user_change", args=[root.pk]), form).status_code == 403
        assert client.get(reverse("admin:auth_user_password_change", args=[root.pk])).status_code == 403
        assert client.get(reverse("admin:auth_group_add")).status_code == 403
        answer = button(client, root, "switch_off", confirm="yes")
        root.refresh_from_db()
        assert root.is_active
        assert "skipped" in messages_of(answer)[-1]

    def test_one_is_switched_off(self, client, dana, alice):
        client.force_login(dana)
        answer = run(client, User, "switch_off", [alice, dana], reason="Left the house")
        assert messages_of(answer) == ["1 switched off, 1 skipped: Somebody else has to switch you off."]
        alice.refresh_from_db()
        assert not alice.is_active
        event = AuditEvent.objects.get(action="user.switch_off")
        assert (event.actor, event.reason) == (dana, "Left the house")
        answer = run(client, User, "switch_on", [alice], reason="Came back")
        assert messages_of(answer) == ["1 switched on"]

    def test_staff_are_a_superusers_to_change(self, client, dana, charlie):
        User.objects.filter(pk=charlie.pk).update(is_staff=True)
        client.force_login(dana)
        page = client.get(reverse("admin:accounts_user_change", args=[charlie.pk]))
        assert page.context["has_change_permission"] is False
        assert client.get(reverse("admin:auth_user_password_change", args=[charlie.pk])).status_code == 403
        button(client, charlie, "switch_off", reason="x")
        button(client, charlie, "remove_second_factor", confirm="yes")
        charlie.refresh_from_db()
        assert charlie.is_active


class TestGrantHours:
    def test_it_grants_with_a_reason(self, client, dana, lab, alice):
        client.force_login(dana)
        asked = run(client, Account, "grant_hours", [lab, alice.personal_account])
        assert asked.status_code == 200
        assert "Lab" in asked.content.decode()
        assert services.balances_of(lab).hours_available == 0
        key = re.search(r'name="key" value="([0-9a-f-]{36})"', asked.content.decode()).group(1)
        fields = {"hours": "2.5", "reason": "A course", "key": key}
        for _ in range(2):
            answer = run(client, Account, "grant_hours", [lab, alice.personal_account], **fields)
            assert messages_of(answer) == ["2 granted"]
        # Sent twice, granted once.
        assert services.balances_of(lab).hours_available == 9_000_000
        assert services.balances_of(alice.personal_account).hours_available == 45_000_000
        event = AuditEvent.objects.get(action="account.grant_hours", object_id=str(lab.pk))
        assert (event.actor, event.reason, event.after["hours"]) == (dana, "A course", "2.500000")

    def test_the_button_of_the_page_does_the_same(self, client, dana, lab):
        client.force_login(dana)
        assert "Lab" in button(client, lab, "grant_hours").content.decode()
        answer = button(client, lab, "grant_hours", hours="1", reason="A course", key=str(uuid7()))
        assert messages_of(answer) == ["1 granted"]
        assert services.balances_of(lab).hours_available == HOUR

    def test_a_get_changes_nothing(self, client, dana, lab):
        client.force_login(dana)
        url = reverse("admin:accounts_account_grant_hours", args=[lab.pk])
        client.get(url, {"hours": "1", "reason": "x", "key": str(uuid7()), "post": "yes"})
        assert services.balances_of(lab).hours_available == 0

    @pytest.mark.parametrize("hours", ["", "0", "-1", "1_0", "1e3", "NaN", "two", "0.0000001", "1000001"])
    def test_it_refuses_bad_hours(self, client, dana, lab, hours):
        client.force_login(dana)
        answer = button(client, lab, "grant_hours", hours=hours, reason="x", key=str(uuid7()))
        assert answer.context["form"].errors["hours"]
        assert services.balances_of(lab).hours_available == 0

    def test_it_wants_a_reason(self, client, dana, lab):
        client.force_login(dana)
        answer = button(client, lab, "grant_hours", hours="1", reason="  ", key=str(uuid7()))
        assert answer.context["form"].errors["reason"]

    def test_it_wants_the_permission(self, client, dana, lab):
        dana.user_permissions.remove(Permission.objects.get(codename="grant_hours"))
        client.force_login(dana)
        assert "grant_hours" not in client.get(reverse("admin:accounts_account_changelist")).content.decode()
        assert button(client, lab, "grant_hours", hours="1", reason="x", key=str(uuid7())).status_code == 403
        run(client, Account, "grant_hours", [lab], hours="1", reason="x", key=str(uuid7()))
        assert services.balances_of(lab).hours_available == 0

    def test_a_child_that_pays_from_its_parent_is_skipped(self, client, dana, child):
        client.force_login(dana)
        answer = button(client, child, "grant_hours", hours="1", reason="x", key=str(uuid7()))
        assert messages_of(answer)[0].startswith("1 skipped: Child pays from its parent: put the hours on Family")


class TestQuotaRequests:
    def test_several_are_approved_and_the_rest_skipped(self, client, dana, lab, alice, bob):
        asked = [ask(lab, alice), ask(lab, bob), ask(alice.personal_account, alice)]
        services.reject_quota_request(request=asked[1], by=dana, reason="No", now=clock.now())
        client.force_login(dana)
        told = messages_of(run(client, QuotaRequest, "approve", asked))
        assert len(told) == 1
        assert re.fullmatch(
            r"2 approved, 1 skipped: dana@example\.test rejected this request at [0-9: -]+ UTC; .+", told[0]
        )
        assert services.balances_of(lab).hours_available == 2 * HOUR

    def test_a_rejection_asks_why(self, client, dana, lab, alice):
        asked = ask(lab, alice)
        client.force_login(dana)
        page = run(client, QuotaRequest, "reject", [asked])
        assert page.context["form"].fields["reason"].required
        asked.refresh_from_db()
        assert asked.status == "PENDING"
        answer = run(client, QuotaRequest, "reject", [asked], reason="Budget is spent")
        assert messages_of(answer) == ["1 rejected"]
        asked.refresh_from_db()
        assert (asked.status, asked.decision_reason) == ("REJECTED", "Budget is spent")

    def test_the_buttons_do_the_same(self, client, dana, lab, alice):
        asked = ask(lab, alice)
        client.force_login(dana)
        assert button(client, asked, "approve").status_code == 200
        assert messages_of(button(client, asked, "approve", confirm="yes")) == ["1 approved"]
        assert services.balances_of(lab).hours_available == 2 * HOUR

    def test_an_unknown_row_is_sent_back_to_the_list(self, client, dana):
        client.force_login(dana)
        url = reverse("admin:accounts_quotarequest_approve", args=[uuid7()])
        assert client.post(url).status_code == 302

    def test_who_may_only_look_may_not_decide(self, client, dana, lab, alice):
        asked = ask(lab, alice)
        dana.user_permissions.set(Permission.objects.filter(codename="view_quotarequest"))
        client.force_login(dana)
        assert client.get(reverse("admin:accounts_quotarequest_changelist")).status_code == 200
        assert button(client, asked, "approve", confirm="yes").status_code == 403
        run(client, QuotaRequest, "approve", [asked])
        asked.refresh_from_db()
        assert asked.status == "PENDING"

    def test_names_are_shown_as_text(self, client, root, lab, alice):
        Account.objects.filter(pk=lab.pk).update(name="<script>alert(1)</script>")
        lab.refresh_from_db()
        asked = ask(lab, alice)
        client.force_login(root)
        for page in (
            client.get(reverse("admin:accounts_quotarequest_changelist")),
            client.get(reverse("admin:accounts_account_changelist")),
            button(client, asked, "reject"),
            button(client, lab, "grant_hours"),
        ):
            assert page.status_code == 200
            assert "<script>alert(1)" not in page.content.decode()


class TestLogIns:
    def test_one_is_ended(self, client, dana, alice):
        token = open_log_in(user=alice).access
        client.force_login(dana)
        family = TokenFamily.objects.get()
        assert messages_of(button(client, family, "end", confirm="yes")) == ["1 logged out"]
        client.logout()
        assert client.get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401


class TestMail:
    def test_one_that_was_given_up_is_sent_again(self, client, dana, django_capture_on_commit_callbacks):
        outbox.post(to="a@example.test", subject="Hello", template="mail/welcome.txt", context={}, key="k")
        Mail.objects.update(tries=8, last_error="refused")
        letter = Mail.objects.get()
        client.force_login(dana)
        assert messages_of(run(client, Mail, "retry", [letter])) == ["1 to be sent again"]
        assert outbox.deliver(mail_id=letter.pk, now=clock.now())
        assert len(mail.outbox) == 1
        assert messages_of(run(client, Mail, "retry", [letter]))[0].startswith("1 skipped: This letter is sent")
