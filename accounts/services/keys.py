"""API keys: made, found, rotated, counted."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from accounts.choices import CapPeriod, Role, Scope
from accounts.ledger.models import Cap
from accounts.ledger.services import open_cap
from accounts.models import Account, ApiKey, User
from accounts.periods import period_of
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError, NotAllowed

PREFIX = "gaas_"
MAX_LENGTH = 200
MAX_LIVE_KEYS = 100
USED_EVERY = timedelta(minutes=1)
# What a viewer's key in an account may be used for.
READING = frozenset({Scope.ACCOUNTS_READ, Scope.TASKS_READ, Scope.GPUS_READ, Scope.PAYMENTS_READ})
# What one of these lets somebody decide on, or a manager's role somewhere.
DECIDING = ("tasks.approve_task", "accounts.change_quotarequest")


class KeyRefused(DomainError):
    """Refuse without telling whether a key is unknown, over, revoked or used from elsewhere."""

    status = 401
    code = "key_not_valid"

    def __init__(self) -> None:
        super().__init__("This API key is not valid here, or not any more. Make a new one, or ask who made it.")


class ScopeNotYours(NotAllowed):
    """Refuse to give a key a scope that its user could not use."""

    code = "scope_not_yours"


class TooManyKeys(Conflict):
    """Refuse more live keys than anybody can keep an eye on."""

    code = "too_many_keys"


@dataclass(frozen=True)
class Used:
    """Hold what was held through a key in its present period, in the asset's integers."""

    gpu_ms: int = 0
    microusd: int = 0


def create_key(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    now: datetime,
    account: Account | None = None,
    expires_at: datetime | None = None,
    allow_list: Sequence[str] = (),
    cap_gpu_ms: int | None = None,
    cap_microusd: int | None = None,
    cap_period: str = CapPeriod.MONTH,
) -> tuple[ApiKey, str]:
    """Make a key and give it with its text, which nothing can tell again.

    Raises ScopeNotYours for what the user may not do, TooManyKeys.
    """
    asked = sorted(set(scopes))
    _check_scopes(user, account, asked)
    with transaction.atomic():
        # One row of the user's to queue at, so that parallel calls cannot pass the limit together.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if ApiKey.objects.live(now=now).filter(user=user).count() >= MAX_LIVE_KEYS:
            raise TooManyKeys(f"You have {MAX_LIVE_KEYS} keys; revoke one that nothing uses first.")
        key, text = _new(
            user=user,
            account=account,
            name=name,
            scopes=asked,
            expires_at=expires_at,
            allow_list=list(allow_list),
            cap_gpu_ms=cap_gpu_ms,
            cap_microusd=cap_microusd,
            cap_period=cap_period,
        )
        record(action="api_key.create", obj=key, by=user, after=_described(key), now=now)
    return key, text


def rotate_key(*, key: ApiKey, by: User, overlap: timedelta, now: datetime) -> tuple[ApiKey, str]:
    """Make a successor with the same terms; the key itself is good for the overlap and no longer.

    What was used against the caps counts on. Raises Conflict for a key that is over or was rotated before, and
    ScopeNotYours where its user lost a scope since.
    """
    _check_scopes(key.user, key.account, key.scopes)
    terms = ("user", "account", "name", "scopes", "expires_at", "allow_list", "lineage")
    caps = ("cap_gpu_ms", "cap_microusd", "cap_period")
    with transaction.atomic():
        successor, text = _new(**{term: getattr(key, term) for term in (*terms, *caps)})
        key.give_way(to=successor, overlap=overlap, now=now)
        record(
            action="api_key.rotate",
            obj=key,
            by=by,
            before={"prefix": key.prefix},
            after={"prefix": successor.prefix, "overlap_until": (now + overlap).isoformat()},
            now=now,
        )
    return successor, text


def find_key(*, text: str, address: str) -> ApiKey:
    """Give the live key that a text is, with its user, in one query.

    Once a minute a second one notes that it was used. Raises KeyRefused for all that is wrong alike: unknown,
    over, revoked, of a user who is switched off, from an address that is not on its list.
    """
    scheme, _, rest = text.partition("_") if len(text) <= MAX_LENGTH else ("", "", "")
    prefix, _, secret = rest.partition("_")
    now = Now()
    key = (
        ApiKey.objects.live(now=now)
        .filter(prefix=prefix if f"{scheme}_" == PREFIX else "", user__is_active=True)
        .select_related("user", "account")
        .annotate(is_fresh=Q(last_used_at__gt=now - USED_EVERY))
        .first()
    )
    # An unknown prefix costs a hash too, so that time does not tell it.
    known = key.secret_hash if key is not None else ""
    if not hmac.compare_digest(_digest(prefix, secret), known) or key is None or not key.admits(address):
        raise KeyRefused
    if not vars(key)["is_fresh"]:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - USED_EVERY)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
    key.user.through = key
    return key


def caps_of_key(*, user: User, asset: str, now: datetime) -> list[Cap]:
    """Give the cap in which what a user holds now counts, if they call through a key that has one."""
    key = user.through
    limit = key.cap_of(asset) if key is not None else None
    if key is None or limit is None:
        return []
    starts_at, ends_at = period_of(key.cap_period, now)
    return [
        open_cap(
            asset=asset,
            owner_key=key.owner_key,
            period=key.cap_period,
            starts_at=starts_at,
            ends_at=ends_at,
            limit=limit,
        )
    ]


def caps_again(caps: Iterable[Cap], *, now: datetime) -> list[Cap]:
    """Give of the keys whose caps these are the caps of the present period; of a key that has none any more, none."""
    again = []
    for cap in caps:
        kind, _, lineage = cap.owner_key.partition(":")
        key = ApiKey.objects.filter(lineage=lineage).order_by("-pk").first() if kind == "key" else None
        limit = key.cap_of(cap.asset_id) if key is not None else None
        if key is None or limit is None:
            continue
        starts_at, ends_at = period_of(key.cap_period, now)
        again.append(
            open_cap(
                asset=cap.asset_id,
                owner_key=key.owner_key,
                period=key.cap_period,
                starts_at=starts_at,
                ends_at=ends_at,
                limit=limit,
            )
        )
    return again


def used_through(keys: Sequence[ApiKey], *, now: datetime) -> dict[UUID, Used]:
    """Tell for each key what was held through it in its present period; one query for all."""
    caps = Cap.objects.filter(
        owner_key__in={key.owner_key for key in keys}, starts_at__lte=now, ends_at__gt=now
    ).values_list("owner_key", "period", "asset_id", "used")
    used = {(owner_key, period, asset): amount for owner_key, period, asset, amount in caps}
    return {
        key.pk: Used(
            gpu_ms=used.get((key.owner_key, key.cap_period, "GPU"), 0),
            microusd=used.get((key.owner_key, key.cap_period, "USD"), 0),
        )
        for key in keys
    }


def _new(**fields: Any) -> tuple[ApiKey, str]:
    # Letters and digits alone, so that the text can be cut at its underscores.
    prefix = secrets.token_hex(5)
    secret = secrets.token_urlsafe(32)
    key = ApiKey.objects.create(prefix=prefix, secret_hash=_digest(prefix, secret), **fields)
    return key, f"{PREFIX}{prefix}_{secret}"


def _digest(prefix: str, secret: str) -> str:
    """Hash a secret with a key derived from SECRET_KEY: a copy of the table alone lets nobody test a guess."""
    value = f"{prefix}_{secret}".encode("utf-8", "surrogatepass")
    return salted_hmac("gaas.api_key", value, algorithm="sha256").hexdigest()


def _check_scopes(user: User, account: Account | None, scopes: Sequence[str]) -> None:
    role = account.role_of(user) if account is not None else None
    if account is not None and role is None:
        raise ScopeNotYours("You are no member of this account.", attr="account")
    if role == Role.VIEWER and (beyond := [scope for scope in scopes if scope not in READING]):
        raise ScopeNotYours(f"A viewer's key cannot have {', '.join(beyond)}.", attr="scopes")
    if Scope.APPROVALS_WRITE in scopes and not _may_decide(user, account):
        raise ScopeNotYours(
            "You decide on nothing, so a key of yours cannot either. Leave approvals:write out.", attr="scopes"
        )


def _may_decide(user: User, account: Account | None) -> bool:
    if account is not None:
        role = account.role_of(user)
        return role is not None and role >= Role.MANAGER
    return any(user.has_perm(perm) for perm in DECIDING) or (
        user.memberships.filter(role__in=Role.MANAGER.and_above).exclude(account__person=F("user")).exists()
    )


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "account": str(key.account_id or ""),
        "expires_at": key.expires_at.isoformat() if key.expires_at else "",
        "allow_list": key.allow_list,
        "cap_gpu_ms": key.cap_gpu_ms,
        "cap_microusd": key.cap_microusd,
        "cap_period": key.cap_period,
    }
