"""What a browser or an app sends for a security key's answer."""

from __future__ import annotations

from typing import Any

import structlog
from django import forms
from django.core.exceptions import ValidationError

from accounts.services import security_keys
from gaas.lib.errors import DomainError


class AnyCredential(forms.Form):
    """Take whatever is sent for a security key's answer; its library stumbles over some of it.

    One that was given to a page of another origin is refused, which the library looks at with https alone.
    """

    def _clean_fields(self) -> None:
        if elsewhere := security_keys.foreign_origin(self.data.get(self.add_prefix("credential"))):
            self.add_error("credential", f"This is the answer to a page of {elsewhere}. {security_keys.where()}")
            return
        try:
            super()._clean_fields()  # type: ignore[misc]  # Django's own name
        except DomainError:
            raise
        except Exception as fault:
            self.add_error("credential", _no_answer(fault))

    def clean(self) -> Any:
        try:
            return super().clean()
        except (ValidationError, DomainError):
            raise
        except Exception as fault:
            raise _no_answer(fault) from fault


def _no_answer(fault: Exception) -> ValidationError:
    structlog.stdlib.get_logger("app").info("bad_credential", why=type(fault).__name__)
    return ValidationError("This is no answer of a security key. Try again.")
