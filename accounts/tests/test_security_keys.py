"""Security keys are bound to the address of BASE_URL, whatever host a request names."""

from __future__ import annotations

import json
import re

import pytest
from allauth.mfa.models import Authenticator

from accounts.services import security_keys
from accounts.tests.app_client import App
from accounts.tests.security_keys import SecurityKey
from gaas.lib import clock
from gaas.tests.cast import PASSWORD

HERE, ELSEWHERE = "localhost:8000", "gaas.internal:8000"
ADD = "/accounts/2fa/webauthn/add/"


class TestAddress:
    @pytest.mark.parametrize(
        ("base", "rp_id", "origin"),
        [
            ("https://gaas.example.org", "gaas.example.org", "https://gaas.example.org"),
            ("https://GaaS.Example.org:443", "gaas.example.org", "https://gaas.example.org"),
            ("https://gaas.example.org:8443", "gaas.example.org", "https://gaas.example.org:8443"),
            ("http://localhost:8000", "localhost", "http://localhost:8000"),
            ("http://127.0.0.1:8000", "localhost", "http://localhost:8000"),
            ("http://[::1]:8000", "localhost", "http://localhost:8000"),
            ("http://192.0.2.7:8000", "192.0.2.7", ""),
        ],
    )
    def test_it_is_that_of_the_platform(self, settings, base, rp_id, origin):
        settings.BASE_URL = settings.FRONTEND_URL = base
        assert (security_keys.rp_id(), security_keys.origin()) == (rp_id, origin)

    def test_a_front_end_of_the_operator_s_own_may_ask_too(self, settings):
        settings.BASE_URL, settings.FRONTEND_URL = "https://example.org", "https://app.example.org:443"
        assert security_keys.origins() == {"https://example.org", "https://app.example.org"}

    def test_a_number_is_told_so(self, settings):
        settings.BASE_URL = "http://192.0.2.7:8000"
        assert not security_keys.is_here("192.0.2.7:8000")
        assert "want a name" in security_keys.where()


@pytest.fixture
def alice(alice, settings):
    settings.ALLOWED_HOSTS = ["localhost", "gaas.internal", "192.0.2.7", "testserver"]
    alice.email_verified_at = clock.now()
    alice.save(update_fields=["email_verified_at"])
    return alice


@pytest.fixture
def page(client, alice):
    """Ask for the page to add a key as somebody who just proved who they are, by one host or the other."""

    def asked(host):
        client.post("/accounts/login/", {"username": alice.email, "password": PASSWORD})
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        return client.get(ADD, headers={"host": host})

    return asked


def options_on(answer):
    return json.loads(re.search(r'<script id="security-key"[^>]*>(.*?)</script>', answer.content.decode(), re.S)[1])


@pytest.mark.django_db
class TestPages:
    def test_a_key_is_asked_for_by_the_platform_s_own_name(self, page):
        assert options_on(page(HERE))["creation_options"]["publicKey"]["rp"]["id"] == "localhost"

    def test_by_another_host_it_says_where_keys_work(self, page):
        answer = page(ELSEWHERE)
        text = answer.content.decode()
        assert answer.status_code == 200
        assert "Security keys work at http://localhost:8000 alone." in text
        assert f'href="http://localhost:8000{ADD}"' in text
        assert "data-security-key" not in text

    def test_at_a_number_there_are_none(self, page, settings):
        settings.BASE_URL = settings.FRONTEND_URL = "http://192.0.2.7:8000"
        answer = page("192.0.2.7:8000")
        assert answer.status_code == 200
        assert "Security keys want a name" in answer.content.decode()

    @pytest.mark.parametrize("origin", ["http://gaas.internal:8000", "http://localhost:8001", "https://evil.example"])
    def test_what_a_page_of_another_origin_was_given_is_refused(self, client, page, origin):
        options = options_on(page(HERE))["creation_options"]
        foreign = json.dumps(SecurityKey(origin).register(options))
        answer = client.post(ADD, {"name": "K", "credential": foreign}, headers={"host": HERE})
        text = answer.content.decode()
        assert f"a page of {origin}. Security keys work at http://localhost:8000 alone." in text
        assert not Authenticator.objects.exists()
        # The same way with the platform's own origin is taken.
        options = options_on(answer)["creation_options"]
        assert client.post(ADD, {"credential": json.dumps(SecurityKey().register(options))}).status_code == 302

    def test_who_logs_in_by_another_host_is_told_so_and_may_give_a_code(self, client, api, alice):
        App(api).log_in()
        app = App(api)
        app.log_in()
        assert app.add_key(SecurityKey()).status_code == 200
        client.post("/accounts/login/", {"username": alice.email, "password": PASSWORD}, headers={"host": ELSEWHERE})
        text = client.get("/accounts/2fa/authenticate/", headers={"host": ELSEWHERE}).content.decode()
        assert "Security keys work at http://localhost:8000 alone." in text
        assert "data-security-key" not in text
        assert 'name="code"' in text


@pytest.mark.django_db
class TestApps:
    def test_an_answer_of_another_origin_is_refused_by_name(self, api, alice):
        app, key = App(api), SecurityKey()
        app.log_in()
        refused = app.add_key(SecurityKey("https://evil.example"))
        (error,) = refused.json()["errors"]
        assert (refused.status_code, error["attr"]) == (400, "credential")
        assert "https://evil.example. Security keys work at http://localhost:8000 alone." in error["detail"]
        assert app.add_key(key).status_code == 200

        other = App(api)
        other.log_in()
        key.origin = "http://testserver"
        refused = other.sign_with(key)
        assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "credential")
        key.origin = "http://localhost:8000"
        assert other.sign_with(key).status_code == 200

    def test_at_a_number_there_are_none(self, api, alice, settings):
        app = App(api)
        app.log_in()
        settings.BASE_URL = settings.FRONTEND_URL = "http://192.0.2.7:8000"
        refused = app.add_key(SecurityKey("http://192.0.2.7:8000"))
        assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "credential")
        assert "want a name" in refused.json()["errors"][0]["detail"]

    def test_the_host_that_is_asked_names_nothing(self, api, alice):
        app = App(api)
        app.log_in()
        app.again()
        said = app("get", "account/authenticators/webauthn", None, HTTP_HOST=ELSEWHERE).json()
        assert said["data"]["creation_options"]["publicKey"]["rp"] == {"id": "localhost", "name": "GaaS"}

    @pytest.mark.parametrize("said", [["http://localhost:8000"], {"is": "http://localhost:8000"}, None, ""])
    def test_an_origin_that_is_none_is_refused(self, api, alice, said):
        app = App(api)
        app.log_in()
        refused = app.add_key(SecurityKey(said))
        assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "credential")
