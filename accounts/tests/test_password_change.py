from __future__ import annotations

import pytest

from accounts.models import TokenFamily, User
from accounts.services import keys
from accounts.services.tokens import open_log_in
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/password/change/"
NEW = "another fine passphrase"


def change(client, **changes):
    return client.post(URL, {"current_password": PASSWORD, "new_password": NEW, **changes}, format="json")


class TestChange:
    def test_it_sets_the_password_and_ends_every_log_in(self, api, client, alice, bob):
        client.post("/accounts/login/", {"username": alice.email, "password": PASSWORD})
        assert client.get("/accounts/").status_code == 200
        mine, other, of_bob = api(alice), api(alice), api(bob)
        assert change(mine).status_code == 200
        alice.refresh_from_db()
        assert alice.check_password(NEW)
        assert {c.get("/api/v1/users/me/").status_code for c in (mine, other)} == {401}
        assert of_bob.get("/api/v1/users/me/").status_code == 200
        assert client.get("/accounts/").status_code == 302
        assert not TokenFamily.objects.live().filter(user=alice).exists()
        assert AuditEvent.objects.filter(action="user.change_password").count() == 1

    def test_no_key_of_the_api_does(self, api, alice):
        _, secret = keys.create_key(user=alice, name="CI", scopes=["accounts:write"], now=clock.now())
        client = api()
        client.credentials(HTTP_AUTHORIZATION=f"Api-Key {secret}")
        assert change(client).status_code == 403

    @pytest.mark.parametrize("asked", [{}, {"revoke_keys": False}, {"revoke_keys": True}], ids=["silent", "no", "yes"])
    def test_keys_stay_unless_they_are_to_go(self, api, alice, bob, asked):
        for user in (alice, bob):
            keys.create_key(user=user, name="CI", scopes=["accounts:read"], now=clock.now())
        assert change(api(alice), **asked).status_code == 200
        gone = asked.get("revoke_keys", False)
        assert alice.api_keys.filter(revoked_at__isnull=gone).count() == 0
        assert bob.api_keys.filter(revoked_at__isnull=True).count() == 1
        assert AuditEvent.objects.filter(action="api_key.revoke", actor=alice).count() == int(gone)

    def test_the_page_asks_too(self, client, alice):
        client.force_login(alice)
        keys.create_key(user=alice, name="CI", scopes=["accounts:read"], now=clock.now())
        assert 'type="checkbox" name="revoke_keys"' in client.get("/accounts/password/change/").content.decode()
        sent = {"current_password": PASSWORD, "new_password": NEW, "revoke_keys": "on"}
        assert client.post("/accounts/password/change/", sent).status_code == 200
        assert not alice.api_keys.filter(revoked_at__isnull=True).exists()

    def test_nobody_changes_none(self, api, alice):
        answer = change(api())
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="api"')

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"current_password": "wrong"}, "wrong_password"),
            ({"new_password": "short"}, "weak_password"),
            ({"new_password": "password123"}, "weak_password"),
            ({"new_password": "alice@example.test"}, "weak_password"),
            ({"new_password": "x" * 10_000}, "max_length"),
            ({"current_password": None}, "null"),
            ({"is_staff": True}, "unknown_field"),
        ],
    )
    def test_it_names_what_is_wrong_and_changes_nothing(self, api, alice, changes, code):
        client = api(alice)
        answer = change(client, **changes)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)
        assert User.objects.get(pk=alice.pk).check_password(PASSWORD)
        assert client.get("/api/v1/users/me/").status_code == 200

    def test_wrong_ones_lock_out(self, api, alice):
        client = api(alice)
        codes = [change(client, current_password="wrong").json()["errors"][0]["code"] for _ in range(6)]
        assert codes == ["wrong_password"] * 5 + ["locked_out"]

    def test_its_page_does_the_same(self, client, alice):
        client.post("/accounts/login/", {"username": alice.email, "password": PASSWORD})
        pair = open_log_in(user=alice)
        wrong = client.post("/accounts/password/change/", {"current_password": "no", "new_password": NEW})
        assert wrong.status_code == 400
        assert "not your present password" in wrong.content.decode()
        done = client.post("/accounts/password/change/", {"current_password": PASSWORD, "new_password": NEW})
        assert "It is changed" in done.content.decode()
        assert client.get("/accounts/").status_code == 302
        assert pair
        assert not TokenFamily.objects.live().exists()

    def test_its_page_wants_a_log_in(self, client):
        assert client.get("/accounts/password/change/")["Location"].startswith("/accounts/login/?next=")


class TestSwitchOff:
    def test_it_ends_every_log_in_for_good(self, api, client, alice, root):
        client.post("/accounts/login/", {"username": alice.email, "password": PASSWORD})
        mine = api(alice)
        alice.switch_off(by=root, now=clock.now())
        User.objects.filter(pk=alice.pk).update(is_active=True)
        assert mine.get("/api/v1/users/me/").status_code == 401
        assert client.get("/accounts/").status_code == 302
