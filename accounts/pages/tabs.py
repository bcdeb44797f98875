"""The tabs above each page of an account, by registration: apps above put theirs beside those of accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse

if TYPE_CHECKING:
    from accounts.pages.of_account import OfAccount


@dataclass(frozen=True)
class Tab:
    """Lead to the page named `url_name`, whose path takes the account's id; `shown` tells whether a visitor sees it."""

    url_name: str
    label: str
    shown: Callable[[OfAccount], bool]


@dataclass(frozen=True)
class Link:
    """Hold what the template writes of a tab."""

    path: str
    label: str
    is_current: bool


_tabs: list[Tab] = []


def register(url_name: str, label: str, *, shown: Callable[[OfAccount], bool] = lambda page: True) -> None:
    """Put a tab behind those that are there; an app does it in its `ready()`. Raises ValueError for one that is."""
    if any(tab.url_name == url_name for tab in _tabs):
        raise ValueError(f"the tab {url_name!r} is registered already")
    _tabs.append(Tab(url_name, label, shown))


def of(page: OfAccount) -> list[Link]:
    """Give the tabs that this page's visitor sees. One is current on its own page and on those below it."""
    links = []
    for tab in _tabs:
        if tab.shown(page):
            path = reverse(tab.url_name, args=[page.account.pk])
            links.append((path, tab.label))
    here = page.request.path
    # The account's own path begins all others': the longest that fits is the one.
    current = max((path for path, _ in links if here.startswith(path)), key=len, default="")
    return [Link(path, label, is_current=path == current) for path, label in links]


register("account", "What it has")
register("account_members", "Members")
register("account_children", "Children")
register("account_webhooks", "Webhooks", shown=lambda page: page.sees_webhooks)
