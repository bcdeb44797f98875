"""An app that speaks allauth's protocol, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.test import APIClient

from accounts.tests.security_keys import SecurityKey
from gaas.tests.cast import PASSWORD

BASE = "/api/v1/auth/app/v1/"
ALICE = {"email": "alice@example.test", "password": PASSWORD}


class App:
    """Speak the protocol as allauth's own clients do: each token that comes is sent from then on."""

    def __init__(self, api: Callable[..., APIClient]) -> None:
        self.http = api()
        self.session_token = self.access = self.refresh = ""

    def __call__(self, method: str, path: str, body: Any = None, **headers: Any) -> Any:
        if self.session_token:
            headers["HTTP_X_SESSION_TOKEN"] = self.session_token
        if self.access:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {self.access}"
        if method != "get":
            headers["format"] = "json"
        answer = getattr(self.http, method)(BASE + path, body, **headers)
        meta = answer.json().get("meta", {})
        self.session_token = meta.get("session_token", self.session_token)
        self.access = meta.get("access_token", self.access)
        self.refresh = meta.get("refresh_token", self.refresh)
        assert "sessionid" not in answer.cookies
        return answer

    def log_in(self, **more: Any) -> Any:
        return self("post", "auth/login", {**ALICE, **more})

    def again(self) -> Any:
        return self("post", "auth/reauthenticate", {"password": PASSWORD})

    def add_key(self, key: SecurityKey, name: str = "Blue") -> Any:
        self.again()
        options = self("get", "account/authenticators/webauthn").json()["data"]["creation_options"]
        return self("post", "account/authenticators/webauthn", {"name": name, "credential": key.register(options)})

    def sign_with(self, key: SecurityKey) -> Any:
        options = self("get", "auth/webauthn/authenticate").json()["data"]["request_options"]
        return self("post", "auth/webauthn/authenticate", {"credential": key.answer(options)})
