"""A small OpenID provider over real HTTP on loopback, as strict as a real one: codes once, PKCE, its own secrets."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "gaas-tests.apps.example", "a secret of the provider's"


class Provider:
    """Say of everybody what `person` holds; `calls` lists the paths that were asked for."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = {
            "sub": "1001",
            "email": "alice@example.test",
            "email_verified": True,
            "name": "Alice G",
        }
        self.calls: list[str] = []
        self.is_down = False
        # What its document about itself says otherwise.
        self.document: dict[str, Any] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self) -> None:
        """Sign by a new key from now on; the old one is published no more."""
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(8)

    def id_token(self, *, key: Any = None, kid: str | None = None, algorithm: str = "RS256", **claims: Any) -> str:
        """Sign what is said of the person; claims of None are left out."""
        now = int(time.time())
        said = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **self.person, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or self.key, algorithm=algorithm, headers={"kid": kid or self.kid})

    def code(self, *, redirect_uri: str, nonce: str = "", challenge: str = "") -> str:
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"redirect_uri": redirect_uri, "nonce": nonce, "challenge": challenge}
        return code

    def _authorize(self, query: dict[str, str]) -> str:
        """Give where the browser is led back to, the person having said yes."""
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        code = self.code(
            redirect_uri=query["redirect_uri"], nonce=query.get("nonce", ""), challenge=query.get("code_challenge", "")
        )
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        known = self._codes.pop(form.get("code", ""), None)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        if known is None or known["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if known["challenge"] and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != known["challenge"]:
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "x",
            "token_type": "Bearer",
            "id_token": self.id_token(nonce=known["nonce"] or None),
        }

    def _jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                provider.calls.append(url.path)
                if provider.is_down:
                    self._answer(503, {"error": "down"})
                elif url.path == "/.well-known/openid-configuration":
                    paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
                    ends = {name: f"{provider.issuer}/{path}" for name, path in paths.items()} | provider.document
                    self._answer(200, {"issuer": provider.issuer, **ends})
                elif url.path == "/keys":
                    self._answer(200, provider._jwks())
                elif url.path == "/authorize":
                    query = {name: values[0] for name, values in parse_qs(url.query).items()}
                    self.send_response(302)
                    self.send_header("Location", provider._authorize(query))
                    self.end_headers()
                else:
                    self._answer(404, {})

            def do_POST(self) -> None:
                provider.calls.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._answer(*((503, {}) if provider.is_down else provider._token(form)))

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
