"""What the books' words stand for: which page of the admin tells of the task, payment or account that a row names.

Keys, references and the sentences of a broken check name things as `<word>:<id>` or `<Word> <id>`. Other apps register
their words at start; the ledger itself knows nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts.ledger.models import Hold, Transfer

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
LINK = "text-primary-600 dark:text-primary-500 underline"


@dataclass(frozen=True)
class Kind:
    """Say where a thing is shown: `page` is `<app>_<model>`, `noun` what people call it."""

    noun: str
    page: str


@dataclass(frozen=True)
class Cause:
    """Name one thing that a row of the books comes from."""

    kind: Kind
    id: UUID

    @property
    def href(self) -> str | None:
        """Give the address of its page; None where the thing has none."""
        try:
            return reverse(f"admin:{self.kind.page}_change", args=[self.id])
        except NoReverseMatch:
            return None


_words: dict[str, Kind] = {}
_bare: dict[str, str] = {}


def register(word: str, *, page: str, noun: str = "", kinds: Iterable[str] = ()) -> None:
    """Say what `<word>:<id>` is. Of transfers of these `kinds` a reference that is an id alone names one too."""
    _words[word] = Kind(noun or word.replace("_", " "), page)
    _bare.update(dict.fromkeys(kinds, word))
    _pattern.cache_clear()


@cache
def _pattern() -> re.Pattern[str]:
    words = "|".join(re.escape(word).replace("_", "[_ ]") for word in sorted(_words, key=len, reverse=True))
    return re.compile(rf"\b({words})[: ]({_ID})", re.IGNORECASE)


def found_in(text: str) -> Iterator[tuple[int, int, Cause]]:
    """Find what a text names, with where its name begins and ends."""
    if not _words:
        return
    for match in _pattern().finditer(text):
        kind = _words[match[1].lower().replace(" ", "_")]
        yield match.start(), match.end(), Cause(kind, UUID(match[2]))


def of_transfer(transfer: Transfer) -> list[Cause]:
    """Give what caused a transfer, the nearest first: by its key, its reference, then its hold."""
    texts = [transfer.key, _named(transfer.kind, transfer.ref)]
    if transfer.hold is not None:
        texts += [transfer.hold.key, _named(transfer.kind, transfer.hold.ref)]
    return _once([*texts, transfer.group])


def of_hold(hold: Hold) -> list[Cause]:
    """Give what a hold is for."""
    return _once([hold.key, _named(hold.purpose, hold.ref)])


def of_actor(text: str) -> list[Cause]:
    """Give who or what asked: `task:<id>`, or a person by an id alone."""
    return _once([text if ":" in text else f"user:{text}"])


def shown(found: Iterable[Cause], request: HttpRequest) -> SafeString:
    """Write causes as links, each a link only for whoever may see its page; an id by its end, which no two share."""
    links = (_link(cause, f"{cause.kind.noun} …{cause.id.hex[-12:]}", request) for cause in found)
    lines = format_html_join(mark_safe("<br>"), "{}", ((link,) for link in links))
    return format_html("<span>{}</span>", lines) if lines else mark_safe("—")


def linked(text: str, request: HttpRequest) -> SafeString:
    """Write a sentence with links where it names something."""
    parts, at = [], 0
    for begin, end, cause in found_in(text):
        parts += [conditional_escape(text[at:begin]), _link(cause, text[begin:end], request)]
        at = end
    return mark_safe("".join([*parts, conditional_escape(text[at:])]))  # noqa: S308  each part is escaped above


def _link(cause: Cause, words: str, request: HttpRequest) -> SafeString:
    href = cause.href if may_see(cause.kind.page, request) else None
    return format_html('<a class="{}" href="{}">{}</a>', LINK, href, words) if href else conditional_escape(words)


def may_see(page: str, request: HttpRequest) -> bool:
    """Tell whether somebody may open the pages of a model of the admin."""
    for model, model_admin in admin.site._registry.items():
        if f"{model._meta.app_label}_{model._meta.model_name}" == page:
            return bool(model_admin.has_view_permission(request))
    return False


def _named(kind: str, ref: str) -> str:
    return f"{_bare[kind]}:{ref}" if kind in _bare else ref


def _once(texts: Iterable[str]) -> list[Cause]:
    return list(dict.fromkeys(cause for text in texts for _, _, cause in found_in(text)))
