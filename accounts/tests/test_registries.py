"""Log-ins to registries of images, which an account keeps for its tasks."""

from __future__ import annotations

import pytest
from django.db import connection
from django.urls import reverse

from accounts import services
from accounts.models import Account, RegistryLogin
from gaas.audit.models import AuditEvent

PASSWORD = "a-password-of-the-registry"
BODY = {"server": "ghcr.io", "username": "robot", "password": PASSWORD}

pytestmark = pytest.mark.django_db


@pytest.fixture
def path(alice):
    return f"/api/v1/accounts/{alice.personal_account.pk}/registries/"


class TestRegistryLogin:
    def test_it_is_kept_sealed_and_never_shown(self, alice, api, path):
        answer = api(alice).post(path, BODY)
        assert answer.status_code == 201
        assert (answer.json()["server"], answer.json()["username"]) == ("ghcr.io", "robot")
        assert PASSWORD not in answer.content.decode() + api(alice).get(path).content.decode()
        with connection.cursor() as cursor:
            cursor.execute("SELECT password FROM accounts_registrylogin")
            assert PASSWORD not in cursor.fetchone()[0]
        assert PASSWORD not in str([event.after for event in AuditEvent.objects.all()])
        assert AuditEvent.objects.filter(action="account.set_registry_login").count() == 1

    def test_staff_see_whose_it_is_and_neither_password_nor_a_way_to_change_it(self, alice, client, root):
        made = services.set_registry_login(account=alice.personal_account, by=alice, **BODY)
        client.force_login(root)
        page = reverse("admin:accounts_registrylogin_change", args=[made.pk])
        for url in (reverse("admin:accounts_registrylogin_changelist"), page):
            shown = client.get(url).content.decode()
            assert "ghcr.io" in shown
            assert "robot" in shown
            assert PASSWORD not in shown
            assert made.password.token not in shown
        assert client.post(page, {"username": "mine", "password": "guessed"}).status_code == 403
        made.refresh_from_db()
        assert (made.username, made.password.open()) == ("robot", PASSWORD)

    def test_the_next_one_for_a_registry_takes_its_place(self, alice, api, path):
        api(alice).post(path, BODY)
        api(alice).post(path, BODY | {"password": "another"})
        assert services.registry_login(account=alice.personal_account, server="ghcr.io")["password"] == "another"
        assert RegistryLogin.objects.count() == 1

    def test_it_is_forgotten(self, alice, api, path):
        pk = api(alice).post(path, BODY).json()["id"]
        assert api(alice).delete(f"{path}{pk}/").status_code == 204
        assert services.registry_login(account=alice.personal_account, server="ghcr.io") is None

    def test_an_outsider_finds_nothing(self, alice, charlie, api, path):
        pk = api(alice).post(path, BODY).json()["id"]
        assert api(charlie).get(path).status_code == 404
        assert api(charlie).post(path, BODY).status_code == 404
        assert api(charlie).delete(f"{path}{pk}/").status_code == 404
        assert RegistryLogin.objects.count() == 1

    @pytest.mark.parametrize(
        ("changes", "attr"),
        [
            ({"server": "https://ghcr.io"}, "server"),
            ({"server": "ghcr.io/owner"}, "server"),
            ({"server": "x"}, "server"),
            ({"username": ""}, "username"),
            ({"password": ""}, "password"),
            ({"password": "x" * 4097}, "password"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    def test_it_refuses_what_is_none(self, alice, api, path, changes, attr):
        answer = api(alice).post(path, BODY | changes)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == attr

    def test_the_nearest_account_counts(self, alice):
        above = alice.personal_account
        below = Account.objects.create(name="Below", parent=above)
        services.set_registry_login(account=above, by=alice, **BODY)
        assert services.registry_login(account=below, server="ghcr.io")["username"] == "robot"
        services.set_registry_login(account=below, by=alice, **BODY | {"username": "own"})
        assert services.registry_login(account=below, server="ghcr.io")["username"] == "own"
        assert services.registry_login(account=above, server="ghcr.io")["username"] == "robot"
        assert services.registry_login(account=below, server="docker.io") is None
