"""Secrets at rest: a column that a copy of the database alone does not open.

    class Login(Row):
        password = SealedField(purpose="registry")

    login.password = seal("hunter2", purpose="registry")
    login.password.open()

The key comes from SECRET_KEY; after a change of it what SECRET_KEY_FALLBACKS lists still opens. A sealed value is
shown as dots by str, repr, forms and templates, so that showing one takes a deliberate `open()`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

SHOWN = "••••••••"


class Unsealable(Exception):
    """State that a sealed value cannot be opened: it was damaged, or sealed under another SECRET_KEY."""


class Sealed:
    """Hold a sealed JSON value; only `open` gives it. Two are equal when they hold the same token."""

    __slots__ = ("_purpose", "token")

    def __init__(self, token: str, purpose: str):
        self.token = token
        self._purpose = purpose

    def open(self) -> Any:
        """Give the value. Raises Unsealable."""
        try:
            return json.loads(_box(self._purpose).decrypt(self.token))
        except (InvalidToken, ValueError) as error:
            raise Unsealable("It cannot be opened: SECRET_KEY has changed, or the value was damaged.") from error

    def __str__(self) -> str:
        return SHOWN

    def __repr__(self) -> str:
        return f"<Sealed {self._purpose}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)


def seal(value: Any, *, purpose: str) -> Sealed:
    """Seal a JSON value; only the same purpose opens it."""
    return Sealed(_box(purpose).encrypt(json.dumps(value).encode()).decode(), purpose)


class SealedField(models.TextField):
    """Keep a `Sealed` as its token. Assign what `seal` gives; any other value is refused at the save."""

    # What django-stubs reads to type the attribute.
    _pyi_private_set_type: Sealed | None  # type: ignore[assignment]
    _pyi_private_get_type: Sealed | None  # type: ignore[assignment]

    def __init__(self, *args: Any, purpose: str, **kwargs: Any):
        self.purpose = purpose
        super().__init__(*args, **{**kwargs, "editable": False})

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        return name, path, args, {**kwargs, "purpose": self.purpose}

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Sealed | None:
        return Sealed(value, self.purpose) if value else None

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None if self.null else ""
        if not isinstance(value, Sealed):
            raise TypeError(f"{self.name} takes what gaas.lib.sealed.seal() gives.")
        return value.token

    def to_python(self, value: Any) -> Sealed | None:
        return value if isinstance(value, Sealed) or value is None else Sealed(value, self.purpose)

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj)) or ""


def _box(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_derived(key, purpose)) for key in keys])


def _derived(key: str, purpose: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(f"gaas.sealed.{purpose}:{key}".encode()).digest())
