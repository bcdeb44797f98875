"""Where money may be sent: what such a place is written like, and how it is shown to whom it does not concern."""

from __future__ import annotations

import re

from gaas.lib.errors import DomainError
from payments.choices import Provider
from payments.keccak import keccak256

_CONNECT = re.compile(r"acct_[A-Za-z0-9]{8,64}", re.ASCII)
_EVM = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
NOWHERE = "0x" + "0" * 40


def as_stored(kind: str, detail: str) -> str:
    """Give a place as it is kept. Raises DomainError with what is wrong about it.

    An EVM address must carry the checksum of EIP-55 in its capitals; what looks like an IBAN, the one of ISO 13616.
    """
    text = " ".join(detail.split())
    if kind == Provider.STRIPE:
        if not _CONNECT.fullmatch(text):
            raise _wrong("Give the id of a connected account at Stripe, such as acct_1032D82eZvKYlo2C.")
        return text
    if kind == Provider.ONCHAIN:
        if not _EVM.fullmatch(text):
            raise _wrong("An address on the chain is 0x and 40 hexadecimal digits.")
        if text.lower() == NOWHERE:
            raise _wrong("Nobody has the key of this address: what is sent there is lost.")
        if text != checksummed(text):
            raise _wrong("This address has a slip in it: copy it again, with its capital letters (EIP-55).")
        return text
    if not text:
        raise _wrong("Say where the money is to go: the bank's account and whose it is.")
    # Whose it is may stand behind a comma.
    compact = text.partition(",")[0].replace(" ", "").upper()
    if _IBAN.fullmatch(compact) and not is_iban(compact):
        raise _wrong("This IBAN has a slip in it: its check digits do not fit.")
    return text


def checksummed(address: str) -> str:
    """Write an EVM address with the capitals of EIP-55 (https://eips.ethereum.org/EIPS/eip-55)."""
    digits = address[2:].lower()
    digest = keccak256(digits.encode()).hex()
    pairs = zip(digits, digest, strict=False)
    return "0x" + "".join(digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in pairs)


def is_iban(compact: str) -> bool:
    """Tell whether the check digits fit: the number, turned round and with letters as 10 to 35, is 1 modulo 97."""
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def masked(kind: str, detail: str) -> str:
    """Show enough of a place to tell it from another, and too little to use it."""
    if kind == Provider.ONCHAIN:
        return f"{detail[:6]}…{detail[-4:]}"
    if kind == Provider.STRIPE:
        return f"acct_…{detail[-4:]}"
    digits = "".join(sign for sign in detail if sign.isdigit())
    return f"…{digits[-4:] if len(digits) >= 8 else ''}"


def _wrong(sentence: str) -> DomainError:
    return DomainError(sentence, code="invalid", attr="detail")
