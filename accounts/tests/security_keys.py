"""A security key in software, with a real key pair (WebAuthn level 2, attestation "none"), for tests over REST."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_decode

USER_PRESENT, HAS_KEY = 0x01, 0x40


class SecurityKey:
    """Be one key at one browser or app; `origin` is what that says the page's is."""

    def __init__(self, origin: str = "http://localhost:8000") -> None:
        self.origin = origin
        self.id = os.urandom(32)
        self.uses = 0
        self._private = ec.generate_private_key(ec.SECP256R1())

    def register(self, options: dict[str, Any]) -> dict[str, Any]:
        """Do what navigator.credentials.create() does."""
        asked = options["publicKey"]
        public = cbor.encode(dict(ES256.from_cryptography_key(self._private.public_key())))
        key = bytes(16) + struct.pack(">H", len(self.id)) + self.id + public
        data = self._data(asked["rp"]["id"], USER_PRESENT | HAS_KEY) + key
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        said = self._said("webauthn.create", asked["challenge"])
        return self._credential({"clientDataJSON": _text(said), "attestationObject": _text(attestation)})

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        """Do what navigator.credentials.get() does."""
        asked = options["publicKey"]
        self.uses += 1
        data, said = self._data(asked["rpId"], USER_PRESENT), self._said("webauthn.get", asked["challenge"])
        signature = self._private.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            {"clientDataJSON": _text(said), "authenticatorData": _text(data), "signature": _text(signature)}
        )

    def _data(self, rp: str, flags: int) -> bytes:
        return hashlib.sha256(rp.encode()).digest() + struct.pack(">BI", flags, self.uses)

    def _said(self, kind: str, challenge: str) -> bytes:
        websafe_decode(challenge)  # as a browser would stumble over what is none
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        name = _text(self.id)
        return {"id": name, "rawId": name, "type": "public-key", "clientExtensionResults": {}, "response": response}


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
