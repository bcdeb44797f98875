from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from accounts.choices import AccountKind, Role
from accounts.ledger.models import Transfer
from accounts.models import Account, Membership, User
from accounts.services import balances_of, open_personal_account

pytestmark = pytest.mark.django_db

TEN_HOURS = 36_000_000


class TestPersonalAccount:
    def test_it_comes_with_every_user(self):
        user = User.objects.create(email="new@example.test", name="New")
        account = user.personal_account
        assert (account.kind, account.name, account.path) == (AccountKind.PERSON, "New", f"/{account.pk}/")
        assert account.role_of(user) == Role.OWNER
        assert balances_of(account).hours_available == TEN_HOURS

    def test_it_comes_with_createsuperuser(self, monkeypatch):
        monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery")
        call_command("createsuperuser", email="Admin@Example.Test", interactive=False)
        admin = User.objects.get(email="admin@example.test")
        assert admin.is_superuser
        assert admin.check_password("correct horse battery")
        assert balances_of(admin.personal_account).hours_available == TEN_HOURS

    def test_it_is_welcomed_once(self, alice):
        open_personal_account(user=alice)
        alice.name = "Alice L."
        alice.save()
        assert Account.objects.filter(person=alice).count() == 1
        assert Membership.objects.filter(user=alice).count() == 1
        assert Transfer.objects.filter(key=f"welcome:{alice.pk}").count() == 1
        assert balances_of(alice.personal_account).hours_available == TEN_HOURS

    def test_it_starts_with_the_hours_of_the_setting(self, settings):
        settings.WELCOME_HOURS = "2.5"
        user = User.objects.create(email="some@example.test")
        assert balances_of(user.personal_account).hours_available == 9_000_000
        settings.WELCOME_HOURS = "0"
        user = User.objects.create(email="none@example.test")
        assert balances_of(user.personal_account).hours_available == 0

    def test_it_stands_or_falls_with_the_user(self, settings):
        settings.WELCOME_HOURS = "not a number"
        with pytest.raises(ValueError):
            User.objects.create(email="half@example.test")
        assert not User.objects.filter(email="half@example.test").exists()
        assert not Account.objects.filter(name="half@example.test").exists()

    def test_organisations_start_with_nothing(self, lab):
        assert balances_of(lab).hours_available == 0


class TestEmail:
    def test_it_is_one_whatever_the_case(self, alice):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.create(email=" ALICE@Example.test ")

    def test_the_database_refuses_upper_case(self, alice):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=alice.pk).update(email="Alice@example.test")

    def test_a_look_alike_of_full_width_is_the_same_address(self):
        user = User.objects.create(email="ａlice@example.test")
        assert user.email == "alice@example.test"
