from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from accounts.models import User
from accounts.services import openid
from accounts.tests.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider
from accounts.tests.second_factors import code_of, set_up
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/google/"


@pytest.fixture
def google(settings, monkeypatch):
    monkeypatch.setattr(openid, "_provider", openid._Provider())
    monkeypatch.setattr(openid, "LOOK_AGAIN_SECONDS", 0)
    with Provider() as provider:
        settings.GOOGLE_ISSUER = provider.issuer
        settings.GOOGLE_CLIENT_ID, settings.GOOGLE_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        yield provider


@pytest.fixture
def client():
    """Come by the address that the provider leads back to."""
    return Client(headers={"host": "127.0.0.1:8000"})


@pytest.fixture
def confirmed(alice):
    User.objects.filter(pk=alice.pk).update(email_verified_at=clock.now())
    alice.refresh_from_db()
    return alice


def send(api, **body):
    return api().post(URL, body, format="json")


def code(answer):
    return answer.json()["errors"][0]["code"]


def me(api, answer):
    client = api()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
    return client.get("/api/v1/users/me/").json()["email"]


class TestIdToken:
    def test_it_links_the_account_of_a_confirmed_address(self, api, google, confirmed):
        answer = send(api, id_token=google.id_token())
        assert answer.status_code == 200
        assert me(api, answer) == "alice@example.test"
        linked = SocialAccount.objects.get()
        assert (linked.user, linked.uid) == (confirmed, "1001")
        assert AuditEvent.objects.filter(action="connection.add").count() == 1

    def test_it_makes_an_account_with_its_hours_for_a_new_address(self, api, google):
        google.person = {**google.person, "email": "New@Example.test", "sub": "7"}
        answer = send(api, id_token=google.id_token())
        user = User.objects.get(email="new@example.test")
        assert me(api, answer) == "new@example.test"
        assert user.email_verified_at is not None
        assert not user.has_usable_password()
        assert user.personal_account is not None

    def test_it_stays_with_whom_it_was_linked_to(self, api, google, confirmed):
        send(api, id_token=google.id_token())
        google.person = {**google.person, "email": "moved@example.test"}
        assert me(api, send(api, id_token=google.id_token(jti="2"))) == "alice@example.test"

    def test_it_links_to_no_address_that_is_not_confirmed_here(self, api, google, alice):
        answer = send(api, id_token=google.id_token())
        assert (answer.status_code, code(answer)) == (403, "email_not_verified")
        assert not SocialAccount.objects.exists()

    @pytest.mark.parametrize("claim", [False, None, "true", 1])
    def test_it_believes_no_address_that_is_not_confirmed_there(self, api, google, confirmed, claim):
        answer = send(api, id_token=google.id_token(email_verified=claim))
        assert (answer.status_code, code(answer)) == (403, "email_not_verified")
        assert not SocialAccount.objects.exists()

    def test_it_takes_each_once(self, api, google, confirmed):
        token = google.id_token()
        assert send(api, id_token=token).status_code == 200
        again = send(api, id_token=token)
        assert (again.status_code, code(again)) == (400, "google_refused")

    def test_it_follows_a_new_key(self, api, google, confirmed):
        old = google.id_token(jti="old")
        assert send(api, id_token=google.id_token()).status_code == 200
        google.rotate()
        assert send(api, id_token=google.id_token(jti="new")).status_code == 200
        assert code(send(api, id_token=old)) == "google_refused"

    def test_it_reads_keys_once_for_many(self, api, google, confirmed):
        for n in range(3):
            assert send(api, id_token=google.id_token(jti=str(n))).status_code == 200
        assert google.calls.count("/keys") == 1

    def forgeries(self, google):
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        good = google.id_token()
        head, body, _ = good.split(".")
        return {
            "another audience": google.id_token(aud="somebody-else.apps.example"),
            "an audience among others": google.id_token(aud=[CLIENT_ID, "somebody-else"]),
            "another party": google.id_token(azp="somebody-else"),
            "another issuer": google.id_token(iss="https://evil.example"),
            "another key": google.id_token(key=other),
            "an unknown key": google.id_token(key=other, kid="unknown"),
            "over": google.id_token(iat=int(time.time()) - 900, exp=int(time.time()) - 600),
            "of the future": google.id_token(iat=int(time.time()) + 900, exp=int(time.time()) + 1200),
            "no end": google.id_token(exp=None),
            "nobody": google.id_token(sub=None),
            "a nonce that was not sent": google.id_token(nonce="x"),
            "no signature": f"{head}.{body}.",
            "a cut one": good[:-9],
            "none": jwt.encode(google.person, "", algorithm="none"),
            "our own key": jwt.encode({**google.person, "aud": CLIENT_ID}, "x" * 64, algorithm="HS256"),
            "garbage": "x.y.z",
        }

    def test_it_refuses_forgeries(self, api, google, confirmed):
        assert send(api, id_token=google.id_token(jti="control")).status_code == 200
        for kind, token in self.forgeries(google).items():
            answer = send(api, id_token=token)
            assert (answer.status_code, code(answer)) == (400, "google_refused"), kind

    @pytest.mark.parametrize("sub", ["", "1" * 192])
    def test_it_takes_no_name_that_is_empty_or_would_be_cut(self, api, google, confirmed, sub):
        answer = send(api, id_token=google.id_token(sub=sub))
        assert (answer.status_code, code(answer)) == (400, "google_refused")
        assert not SocialAccount.objects.exists()
        assert send(api, id_token=google.id_token(sub="1" * 191)).status_code == 200

    def test_it_holds_a_nonce_against_what_was_sent(self, api, google, confirmed):
        assert send(api, id_token=google.id_token(nonce="n1"), nonce="n1").status_code == 200
        assert code(send(api, id_token=google.id_token(nonce="n2"), nonce="n1")) == "google_refused"
        assert code(send(api, id_token=google.id_token(), nonce="n1")) == "google_refused"

    def test_it_asks_for_the_second_factor_and_takes_the_same_token_then(self, api, google, confirmed):
        secret, _ = set_up(confirmed)
        token = google.id_token()
        assert code(send(api, id_token=token)) == "otp_required"
        assert send(api, id_token=token, otp=code_of(secret)).status_code == 200

    def test_it_lets_nobody_in_who_is_switched_off(self, api, google, confirmed):
        send(api, id_token=google.id_token())
        User.objects.update(is_active=False)
        assert code(send(api, id_token=google.id_token(jti="2"))) == "google_refused"

    @pytest.mark.parametrize("mode", ["closed", "invite", "domains"])
    def test_registration_holds_for_it_too(self, api, google, settings, mode):
        settings.REGISTRATION = mode
        settings.REGISTRATION_DOMAINS = ["other.test"]
        assert code(send(api, id_token=google.id_token())) == "registration_closed"
        assert not User.objects.exists()

    @pytest.mark.parametrize(
        "body",
        [{}, {"code": "x", "id_token": "y"}, {"id_token": None}, {"id_token": 1}, {"code": "x" * 3000}, {"evil": 1}],
    )
    def test_it_refuses_bad_bodies(self, api, google, body):
        assert send(api, **body).status_code == 400

    def test_it_is_not_there_where_it_is_not_set_up(self, api, db):
        assert send(api, id_token="x.y.z").status_code in {400, 404}
        assert send(api, code="x").status_code == 404

    @pytest.mark.parametrize("value", [None, 7, "", "javascript:alert(1)", []])
    @pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
    def test_a_provider_that_names_no_endpoint_is_a_503(self, api, client, google, confirmed, name, value):
        google.document = {name: value}
        refused = [client.get("/accounts/google/"), send(api, code="x"), send(api, id_token=google.id_token())]
        wanted = {"authorization_endpoint": 0, "token_endpoint": 1, "jwks_uri": 2}[name]
        assert refused[wanted].status_code == 503
        assert all(one.status_code < 504 and one.status_code != 500 for one in refused)

    def test_a_provider_that_is_away_is_a_503(self, api, google, confirmed):
        google.is_down = True
        answer = send(api, code="x")
        assert (answer.status_code, code(answer)) == (503, "google_unreachable")
        assert int(answer["Retry-After"]) > 0


class TestCode:
    BACK = "http://app.example.test/callback"

    def test_it_is_exchanged_once(self, api, google, confirmed):
        given = google.code(redirect_uri=self.BACK)
        assert send(api, code=given, redirect_uri=self.BACK).status_code == 200
        again = send(api, code=given, redirect_uri=self.BACK)
        assert (again.status_code, code(again)) == (400, "google_refused")

    def test_it_is_void_elsewhere_and_without_its_verifier(self, api, google, confirmed):
        assert code(send(api, code=google.code(redirect_uri=self.BACK))) == "google_refused"
        bound = google.code(redirect_uri=self.BACK, challenge="x" * 43)
        assert code(send(api, code=bound, redirect_uri=self.BACK, code_verifier="wrong")) == "google_refused"


class TestPages:
    def go(self, client, path="/accounts/google/"):
        """Follow the browser's way: to the provider, and back with what it gives; returns the way back."""
        there = client.get(path)["Location"]
        return httpx.get(there, trust_env=False).headers["Location"], there

    def back(self, client, url):
        return client.get(url.partition("127.0.0.1:8000")[2])

    def test_begun_at_another_host_it_begins_where_it_leads_back_to(self, client, google, confirmed):
        there = {"host": "localhost:8000"}
        answer = client.get("/accounts/google/?next=/tasks/", headers=there)
        assert answer["Location"] == "http://127.0.0.1:8000/accounts/google/?next=/tasks/&came=nobody"
        assert "openid" not in client.session
        self.go(client, answer["Location"].partition("127.0.0.1:8000")[2])
        assert client.session["openid"]["next"] == "/tasks/"

    def test_who_is_logged_in_at_another_host_alone_connects_nothing(self, client, google, confirmed):
        client.force_login(confirmed)
        answer = client.get("/accounts/google/", headers={"host": "localhost:8000"})
        here = Client(headers={"host": "127.0.0.1:8000"})  # which keeps no session of there
        refused = here.get(answer["Location"].partition("127.0.0.1:8000")[2])
        assert refused.status_code == 400
        assert "leads back to http://127.0.0.1:8000 alone" in refused.content.decode()
        assert "openid" not in here.session

    def test_a_proxy_that_names_another_host_leads_in_no_circle(self, client, google, confirmed):
        named = Client(headers={"host": "localhost:8000"})
        once = named.get("/accounts/google/")["Location"].partition("127.0.0.1:8000")[2]
        url, _ = self.go(named, once)
        assert url.startswith("http://127.0.0.1:8000/accounts/google/callback/")
        assert self.back(named, url).status_code == 302
        assert "Hello, Alice" in named.get("/").content.decode()
        assert named.get("/accounts/google/").status_code == 302
        assert "came=somebody" in named.get("/accounts/google/")["Location"]

    def test_it_logs_in_and_on(self, client, google, confirmed):
        url, there = self.go(client, "/accounts/google/?next=/api/v1/tasks/")
        query = parse_qs(urlsplit(there).query)
        assert query["redirect_uri"] == ["http://127.0.0.1:8000/accounts/google/callback/"]
        assert query["code_challenge_method"] == ["S256"]
        assert self.back(client, url)["Location"] == "/api/v1/tasks/"
        assert "Hello, Alice" in client.get("/").content.decode()

    def test_the_way_back_is_good_once_and_in_this_browser_alone(self, client, google, confirmed):
        url, _ = self.go(client)
        assert self.back(Client(), url).status_code == 400
        assert self.back(client, url).status_code == 302
        client.post("/accounts/logout/")
        assert self.back(client, url).status_code == 400

    @pytest.mark.parametrize(("away", "status"), [(400, 302), (601, 400), (None, 400)])
    def test_a_way_back_is_good_for_ten_minutes(self, client, google, confirmed, away, status):
        url, _ = self.go(client)
        session = client.session
        begun = session["openid"].pop("begun_at", 0)
        if away is not None:
            session["openid"]["begun_at"] = begun - away
        session.save()
        answer = self.back(client, url)
        assert answer.status_code == status
        assert ("more than 10 minutes. Begin anew." in answer.content.decode()) == (status == 400)
        assert self.back(client, url).status_code == 400, "it is used up either way"
        assert SocialAccount.objects.exists() == (status == 302)

    @pytest.mark.parametrize("change", [("state=", "state=x"), ("code=", "code=x")])
    def test_another_state_or_code_is_refused(self, client, google, confirmed, change):
        url, _ = self.go(client)
        assert self.back(client, url.replace(*change)).status_code == 400
        assert client.get("/accounts/").status_code == 302

    def test_another_nonce_is_refused(self, client, google, confirmed):
        url, _ = self.go(client)
        session = client.session
        session["openid"] = {**session["openid"], "nonce": "another"}
        session.save()
        assert self.back(client, url).status_code == 400

    def test_it_asks_for_the_second_factor(self, client, google, confirmed):
        set_up(confirmed)
        url, _ = self.go(client)
        assert self.back(client, url)["Location"] == "/accounts/2fa/authenticate/"
        assert client.get("/accounts/").status_code == 302

    def test_it_is_connected_and_cut_off(self, client, google, confirmed):
        client.post("/accounts/login/", {"username": confirmed.email, "password": PASSWORD})
        google.person = {**google.person, "email": "other@gmail.test"}
        asked = client.get("/accounts/google/")
        assert asked["Location"].startswith("/accounts/reauthenticate/?next=")
        assert client.post(asked["Location"], {"password": "wrong"}).status_code == 200
        assert "Location" in client.get("/accounts/google/")
        assert client.post(asked["Location"], {"password": PASSWORD})["Location"] == "/accounts/connections/"
        url, _ = self.go(client)
        assert self.back(client, url)["Location"] == "/accounts/connections/"
        letter = Mail.objects.get(to=confirmed.email)
        assert "connected to your account" in letter.subject
        assert "/accounts/connections/" in letter.body
        linked = SocialAccount.objects.get()
        assert linked.user == confirmed
        assert "other@gmail.test" in client.get("/accounts/connections/").content.decode()
        client.post("/accounts/connections/", {"account": linked.pk})
        assert not SocialAccount.objects.exists()

    def test_it_is_not_connected_to_two(self, client, google, confirmed, bob):
        SocialAccount.objects.create(user=bob, provider="google", uid="1001")
        client.post("/accounts/login/", {"username": confirmed.email, "password": PASSWORD})
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        url, _ = self.go(client)
        assert self.back(client, url).status_code == 409
        assert SocialAccount.objects.get().user == bob

    def test_a_way_begun_by_nobody_connects_no_one_who_logged_in_meanwhile(self, client, google, confirmed):
        google.person = {**google.person, "sub": "666", "email": "mallory@gmail.test"}
        url, _ = self.go(client)
        client.post("/accounts/login/", {"username": confirmed.email, "password": PASSWORD})
        assert self.back(client, url).status_code == 400
        assert not SocialAccount.objects.exists()

    def test_the_only_way_in_is_not_cut_off(self, client, google):
        url, _ = self.go(client)
        self.back(client, url)
        linked = SocialAccount.objects.get()
        text = client.post("/accounts/connections/", {"account": linked.pk}, follow=True).content.decode()
        assert "your only way in" in text
        assert SocialAccount.objects.exists()
        # What is asked for first is at hand.
        asked = client.get("/accounts/password/change/", follow=True)
        assert asked.redirect_chain == [("/accounts/password/reset/", 302)]
        assert f'value="{linked.user.email}"' in asked.content.decode()

    def test_another_s_is_not_cut_off(self, client, google, confirmed, bob):
        linked = SocialAccount.objects.create(user=bob, provider="google", uid="5")
        client.force_login(confirmed)
        for pk in (linked.pk, "x", "", "-1"):
            client.post("/accounts/connections/", {"account": pk})
        assert SocialAccount.objects.get() == linked

    def test_who_says_no_there_is_led_back(self, client, google):
        url, _ = self.go(client)
        state = parse_qs(urlsplit(url).query)["state"][0]
        answer = client.get("/accounts/google/callback/", {"error": "access_denied", "state": state}, follow=True)
        assert "did not let you in" in answer.content.decode()

    def test_no_page_speaks_of_it_where_it_is_not_set_up(self, client, db):
        assert "Google" not in client.get("/accounts/login/").content.decode()
        assert client.get("/accounts/google/").status_code == 404
