"""How an address of mail is written: one way for each mailbox, so that no two accounts can share one."""

from __future__ import annotations

import re
import unicodedata

from django.core.exceptions import ValidationError

LONGEST = 254
# What is left when normal_email has done its part: neither quotes, which "a"@b.test and a@b.test differ by alone,
# nor a letter beyond ASCII. Django's own validator takes both, and four of those by ignoring letter case.
_PLAIN = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]+@[a-z0-9.:\[\]-]+")


def normal_email(value: str) -> str:
    """Write an address the one way it is stored and looked up.

    Composed, without blanks around, in lower case, its domain as name servers know it (xn--). What cannot be
    written so stays as it is: `check_email` refuses it, and nobody is found by it.
    """
    text = unicodedata.normalize("NFKC", value or "").strip().lower()
    local, at, domain = text.rpartition("@")
    if domain.isascii():
        return text
    try:
        encoded = domain.encode("idna")
        # The codec drops marks that nobody sees and writes ß as ss: such a name would lead to another's mail.
        return f"{local}{at}{encoded.decode()}" if encoded.decode("idna") == domain else text
    except UnicodeError:
        return text


def check_email(value: str) -> None:
    """Raise Django's ValidationError for an address that has marks nobody sees, quotes, or look-alikes as letters."""
    normal = normal_email(value)
    if len(normal) > LONGEST or not _PLAIN.fullmatch(normal):
        raise ValidationError("Write this address in plain letters, without quotes or marks.", code="invalid")
