from __future__ import annotations

import base64
import json
import time
from uuid import uuid4

import jwt
import pytest
from django.conf import settings

from accounts.models import User
from accounts.services.tokens import open_log_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/users/me/"


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def signed(claims, key=None, **kwargs):
    return jwt.encode(claims, key or settings.SECRET_KEY, algorithm=kwargs.pop("algorithm", "HS256"), **kwargs)


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def without_signature(claims, alg):
    return f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims)}."


FORGERIES = {
    "expired": lambda c, t: signed({**c, "exp": int(time.time()) - 1}),
    "without exp": lambda c, t: signed({k: v for k, v in c.items() if k != "exp"}),
    "not yet": lambda c, t: signed({**c, "nbf": int(time.time()) + 3600}),
    "another key": lambda c, t: signed(c, key="k" * 64),
    "empty key": lambda c, t: f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(c)}.AAAA",
    "another algorithm": lambda c, t: signed(c, algorithm="HS512"),
    "alg none": lambda c, t: without_signature(c, "none"),
    "alg None": lambda c, t: without_signature(c, "None"),
    "cut signature": lambda c, t: t[:-8],
    "no signature": lambda c, t: t.rpartition(".")[0] + ".",
    "changed claims": lambda c, t: ".".join([t.split(".")[0], part({**c, "user_id": str(uuid4())}), t.split(".")[2]]),
    "changed signature": lambda c, t: t[:-20] + ("A" if t[-20] != "A" else "B") + t[-19:],
    "key id": lambda c, t: signed(c, key="k" * 64, headers={"kid": "../../dev/null"}),
    "key address": lambda c, t: signed(c, key="k" * 64, headers={"jku": "http://127.0.0.1:9/keys"}),
    "key inside": lambda c, t: signed(c, key="k" * 64, headers={"jwk": {"kty": "oct", "k": part("k" * 64)}}),
    "wrong audience": lambda c, t: signed({**c, "aud": "elsewhere"}),
    "no audience": lambda c, t: signed({k: v for k, v in c.items() if k != "aud"}),
    "wrong issuer": lambda c, t: signed({**c, "iss": "elsewhere"}),
    "wrong kind": lambda c, t: signed({**c, "token_type": "refresh"}),
    "no kind": lambda c, t: signed({k: v for k, v in c.items() if k != "token_type"}),
    "no family": lambda c, t: signed({k: v for k, v in c.items() if k != "sid"}),
    "unknown family": lambda c, t: signed({**c, "sid": str(uuid4())}),
    "family of odd type": lambda c, t: signed({**c, "sid": ["x"]}),
    "unknown user": lambda c, t: signed({**c, "user_id": str(uuid4())}),
    "user of odd type": lambda c, t: signed({**c, "user_id": 7}),
    "no user": lambda c, t: signed({k: v for k, v in c.items() if k != "user_id"}),
    "no password claim": lambda c, t: signed({k: v for k, v in c.items() if k != "hash_password"}),
    "no jti": lambda c, t: signed({k: v for k, v in c.items() if k != "jti"}),
    "payload no object": lambda c, t: f"{t.split('.')[0]}.{part([1])}.{t.split('.')[2]}",
    "20 kB": lambda c, t: "A" * 20_000,
    "20 kB with dots": lambda c, t: f"{'A' * 9000}.{'B' * 9000}.{'C' * 2000}",
    "a key": lambda c, t: "gaas_0123456789abcdef",
    "a host's secret": lambda c, t: "gaash_0123456789abcdef",
    "nothing": lambda c, t: "",
    "not ASCII": lambda c, t: "ü" * 20,
    "two": lambda c, t: f"{t} {t}",
}


class TestAccessToken:
    def test_it_lets_in_with_one_query(self, alice, client, django_assert_num_queries):
        # The second query is the personal account that this address shows.
        token = open_log_in(user=alice).access
        with django_assert_num_queries(2):
            assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 200

    @pytest.mark.parametrize("kind", FORGERIES)
    def test_it_refuses(self, alice, client, kind):
        token = open_log_in(user=alice).access
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 200
        # The control: what is signed anew without a change is good, so that each refusal is for its change.
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {signed(claims_of(token))}").status_code == 200
        forged = FORGERIES[kind](claims_of(token), token)
        answer = client.get(URL, HTTP_AUTHORIZATION=f"Bearer {forged}")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
        code = "key_not_valid" if kind == "a key" else "token_not_valid"
        assert answer.json()["errors"][0]["code"] == code

    def test_it_refuses_a_refresh_token(self, alice, client):
        token = open_log_in(user=alice).refresh
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401

    def test_it_is_not_passed_on_to_a_session(self, alice, client):
        client.force_login(alice)
        assert client.get(URL).status_code == 200
        assert client.get(URL, HTTP_AUTHORIZATION="Bearer x").status_code == 401

    def test_it_ends_with_the_user_and_with_the_password(self, alice, client):
        token = open_log_in(user=alice).access
        User.objects.filter(pk=alice.pk).update(is_active=False)
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401
        User.objects.filter(pk=alice.pk).update(is_active=True)
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 200
        alice.set_password("another long passphrase")
        alice.save()
        assert client.get(URL, HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 401

    @pytest.mark.parametrize("header", ["Basic YTpi", "Token x", "Bearer", "", "Host x"])
    def test_other_headers_are_nobody(self, client, header):
        answer = client.get(URL, HTTP_AUTHORIZATION=header)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
