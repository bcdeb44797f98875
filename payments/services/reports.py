"""Chargeback: what was used, by whom, on what and for which purse, added up from charges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from accounts.models import Account, User
from gaas.lib.errors import DomainError
from gpus.models import GPU
from payments.models import Charge
from payments.querysets import USAGE_COLUMNS

LONGEST = timedelta(days=400)
# Rows whose names are looked up together.
BATCH = 500
# The columns that a report can be narrowed by.
NARROWED = {"user": "user_id", "gpu": "gpu_id", "kind": "kind", "cost_code": "cost_code", "funding": "funding"}


class BadRange(DomainError):
    """State that a report's time ends before it begins, or is longer than one report may be."""

    code = "bad_range"


@dataclass(frozen=True, kw_only=True)
class UsageAsked:
    """Say which usage is meant: from `begin` on and before `end`, in `account` and all below it, or everywhere.

    `narrow` has values for names of NARROWED.
    """

    begin: datetime
    end: datetime
    group_by: tuple[str, ...] = ("account", "month")
    account: Account | None = None
    narrow: Mapping[str, Any] = field(default_factory=dict)


def usage_totals(asked: UsageAsked, *, by: User) -> dict[str, int]:
    """Add up all that `by` may see of it. Raises BadRange."""
    return _seen(asked, by).usage()


def usage_rows(asked: UsageAsked, *, by: User, order: tuple[str, ...] = (), most: int | None = None) -> Iterator[dict]:
    """Give one dict for each group, by its names in `group_by`, with figures and the names of what has one.

    Never all in memory. Raises BadRange before the first.
    """
    if "subtree" in asked.group_by and asked.account is None:
        raise DomainError("Grouping by subtree takes an account: name the one below which to group.", attr="account")
    rows = _seen(asked, by).usage_by(*asked.group_by, root=asked.account)
    if order:
        rows = rows.order_by(*order)
    found = rows[:most] if most is not None else rows.iterator(chunk_size=BATCH)
    return _named(iter(found), asked.group_by)


def _seen(asked: UsageAsked, by: User) -> Any:
    if asked.end <= asked.begin:
        raise BadRange("The report ends before it begins: give a later `to`.", attr="to")
    if asked.end - asked.begin > LONGEST:
        raise BadRange(f"One report covers at most {LONGEST.days} days; ask for several.", attr="to")
    charges = Charge.objects.within(asked.begin, asked.end).visible_to(by)
    if asked.account is not None:
        charges = charges.under(asked.account)
    return charges.filter(**{NARROWED[name]: value for name, value in asked.narrow.items()})


def _named(rows: Iterator[dict], dimensions: tuple[str, ...]) -> Iterator[dict]:
    while batch := list(islice(rows, BATCH)):
        yield from _with_names(batch, dimensions)


def _with_names(batch: list[dict], dimensions: tuple[str, ...]) -> Iterator[dict]:
    """Look up the names of accounts, people and GPUs, one query for each kind of them."""
    accounts = _names(batch, dimensions, ("account", "subtree"), _account_names)
    users = _names(batch, dimensions, ("user",), _user_names)
    gpus = _names(batch, dimensions, ("gpu",), _gpu_names)
    for row in batch:
        told: dict[str, Any] = {}
        for name in dimensions:
            value = row[USAGE_COLUMNS[name]]
            told[name] = f"{value:%Y-%m}" if name == "month" else str(value)
            if name in ("account", "subtree"):
                told[f"{name}_name"] = accounts.get(str(value), "")
            elif name == "user":
                told["user_name"] = users.get(str(value), "")
            elif name == "gpu":
                told["gpu_model"] = gpus.get(str(value), "")
        told |= {figure: int(row[figure] or 0) for figure in ("task_count", "ms", "quota_ms", "reserved_ms", "paid")}
        yield told


def _names(batch: list[dict], dimensions: tuple[str, ...], which: tuple[str, ...], find: Any) -> dict[str, str]:
    ids = {str(row[USAGE_COLUMNS[name]]) for name in dimensions if name in which for row in batch}
    return {str(pk): name for pk, name in find(ids)} if ids else {}


def _account_names(ids: set[str]) -> Any:
    return Account.objects.filter(pk__in=ids).values_list("pk", "name")


def _user_names(ids: set[str]) -> Any:
    return ((user.pk, user.get_full_name()) for user in User.objects.filter(pk__in=ids).only("name", "email"))


def _gpu_names(ids: set[str]) -> Any:
    return GPU.objects.filter(pk__in=ids).values_list("pk", "model")
