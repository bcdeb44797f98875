"""Webhooks of an account: made, changed, tried and switched off by who manages it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import CharField, Exists, ExpressionWrapper, F, OuterRef, QuerySet

from accounts.choices import Role
from accounts.models import Account, User
from accounts.services.authority import AccountMoved, locked, locked_in_family, require_open
from accounts.services.people import people_of
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError, NotAllowed, NotFound
from gaas.lib.retry import retried
from gaas.lib.sealed import seal
from gaas.outbox import services as outbox
from gaas.outbox.models import Webhook, WebhookDelivery
from gaas.outbox.services import webhooks
from gaas.outbox.signing import new_secret

BATCH = 100
CHANGEABLE = ("url", "events", "includes_children", "is_active")


class TooManyWebhooks(Conflict):
    """Refuse more webhooks than one account may have."""

    code = "too_many_webhooks"


class DisabledByStaff(NotAllowed):
    """Refuse to switch on, lead elsewhere, remove or make anew what staff switched off."""

    code = "disabled_by_staff"


def webhooks_seen_by(user: Any) -> QuerySet[Webhook]:
    """Keep those of the accounts that a user manages, and all for staff who may view webhooks."""
    if user.has_perm("outbox.view_webhook"):
        return Webhook.objects.all()
    return Webhook.objects.filter(account__in=Account.objects.managed_by(user))


def check_address(url: str) -> None:
    """Resolve an address that is to be called. Raises AddressRefused; asks the network, so never in a transaction."""
    webhooks.guard().check(url)


@retried
def create_webhook(
    *, account: Account, url: str, events: Iterable[str], includes_children: bool = False, by: User, now: datetime
) -> tuple[Webhook, str]:
    """Make a webhook and give it with its secret, which nothing can tell again. Call `check_address` first.

    Raises NotAllowed below a manager, AddressRefused, DisabledByStaff, TooManyWebhooks, AccountClosed. Locks: the
    account, so that parallel calls cannot pass the limit together, for children the root as well, as who moves an
    account does → those below that are heard for the first time.
    """
    require_manager(account, by)
    url = webhooks.guard().read(url).url
    secret = new_secret()
    with transaction.atomic():
        here = _locked(account, includes_children)
        require_open(here)
        _refuse_disabled(here, url)
        if Webhook.objects.filter(account=here).count() >= settings.WEBHOOKS_PER_ACCOUNT:
            raise TooManyWebhooks(f"{here} has {settings.WEBHOOKS_PER_ACCOUNT} webhooks: remove one that nobody needs.")
        hook = Webhook.objects.create(
            account=here,
            url=url,
            events=_sorted(events),
            includes_children=includes_children,
            secret=seal(secret, purpose="webhook"),
            created_by=by,
        )
        _listen(here, includes_children)
        record(action="webhook.create", obj=hook, by=by, after=_described(hook), now=now)
    return hook, secret


@retried
def change_webhook(*, webhook: Webhook, changes: dict[str, Any], by: User, now: datetime) -> Webhook:
    """Change where it leads, what it hears of, or whether it is on; on again it begins without its failures.

    What is on its way goes to the new address. For another one call `check_address` first. Raises NotAllowed,
    NotFound, AddressRefused, DisabledByStaff. Locks: account, for children more than that → webhook.
    """
    require_manager(webhook.account, by)
    if "url" in changes:
        changes = {**changes, "url": webhooks.guard().read(changes["url"]).url}
    if "events" in changes:
        changes = {**changes, "events": _sorted(changes["events"])}
    with transaction.atomic():
        is_less = changes.get("includes_children") is False
        here = (
            locked_in_family(webhook.account) if is_less else _locked(webhook.account, "includes_children" in changes)
        )
        hook = _locked_hook(webhook)
        hook.account = here
        if changes.get("is_active"):
            _refuse_touched(hook, "switch it on", attr="is_active")
        if changes.get("url", hook.url) != hook.url:
            _refuse_touched(hook, "have it lead elsewhere", attr="url")
            _refuse_disabled(here, changes["url"])
        before = _described(hook)
        for name in CHANGEABLE:
            setattr(hook, name, changes.get(name, getattr(hook, name)))
        if hook.is_active:
            require_open(here)
            hook.disabled_at, hook.disabled_reason, hook.told_at = None, "", None
        if "url" in changes or changes.get("is_active"):
            hook.failures, hook.failing_since, hook.rest_until = 0, None, None
        hook.save()
        _listen(here, hook.includes_children)
        if is_less:
            _listen_no_more(here)
        after = _described(hook)
        changed = [name for name in after if after[name] != before[name]]
        if changed:
            record(
                action="webhook.change",
                obj=hook,
                by=by,
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
                now=now,
            )
    return hook


def rotate_webhook_secret(*, webhook: Webhook, overlap: timedelta, by: User, now: datetime) -> tuple[Webhook, str]:
    """Give a new secret, once; for the overlap calls are signed by the old one besides. Raises NotAllowed, NotFound."""
    require_manager(webhook.account, by)
    secret = new_secret()
    with transaction.atomic():
        hook = _locked_hook(webhook)
        hook.account = webhook.account
        hook.old_secret, hook.old_secret_until = hook.secret, now + overlap
        hook.secret = seal(secret, purpose="webhook")
        hook.save(update_fields=["secret", "old_secret", "old_secret_until", "updated_at"])
        until = hook.old_secret_until.isoformat()
        record(action="webhook.rotate_secret", obj=hook, by=by, after={"overlap_until": until}, now=now)
    return hook, secret


@retried
def delete_webhook(*, webhook: Webhook, by: User, now: datetime) -> None:
    """Remove a webhook with its deliveries; what is on its way is not sent any more.

    Raises NotAllowed, DisabledByStaff, NotFound for one that somebody else just removed. Locks: the account with all
    above and below it → webhook.
    """
    require_manager(webhook.account, by)
    with transaction.atomic():
        here = locked_in_family(webhook.account)
        # Not locked: its deliveries go first, as whoever notes what came of a call locks one before the webhook.
        hook = Webhook.objects.filter(pk=webhook.pk).first()
        if hook is not None:
            _refuse_touched(hook, "let it be removed")
        if not Webhook.objects.filter(pk=webhook.pk).delete()[0]:
            raise NotFound("This webhook is gone already.")
        _listen_no_more(here)
        record(action="webhook.delete", obj=webhook, by=by, before=_described(webhook), now=now)


def try_webhook(*, webhook: Webhook, by: User, now: datetime) -> WebhookDelivery:
    """Send a trial. Raises NotAllowed, Conflict for one that is off."""
    require_manager(webhook.account, by)
    return webhooks.ping(webhook=webhook, now=now)


def redeliver(*, delivery: WebhookDelivery, by: User, now: datetime) -> WebhookDelivery:
    """Have an event sent again. Raises NotAllowed, Conflict for one on its way or a webhook that is off."""
    require_manager(delivery.webhook.account, by)
    webhooks.redeliver(delivery=delivery, now=now)
    delivery.refresh_from_db()
    return delivery


def disable_webhook(*, webhook: Webhook, reason: str, by: User, now: datetime) -> None:
    """Have staff switch a webhook off until staff switch it on; its managers are told why.

    Raises NotAllowed, Conflict for one that staff switched off already.
    """
    if not by.has_perm("outbox.change_webhook"):
        raise NotAllowed("Switching off others' webhooks takes the permission for it.")
    if not reason.strip():
        raise DomainError("Say why: its managers see it.", code="required", attr="reason")
    with transaction.atomic():
        if not webhooks.disable(webhook_id=webhook.pk, reason=reason.strip(), by=by, now=now):
            raise Conflict("Staff switched this webhook off already.", attr="is_active")
        record(action="webhook.disable", obj=webhook, by=by, reason=reason.strip(), now=now)


def enable_webhook(*, webhook: Webhook, by: User, now: datetime) -> None:
    """Have staff switch on what staff switched off; it begins without its failures.

    Raises NotAllowed, NotFound, AccountClosed, Conflict for one that staff did not switch off: its managers do that.
    """
    if not by.has_perm("outbox.change_webhook"):
        raise NotAllowed("Switching others' webhooks on takes the permission for it.")
    with transaction.atomic():
        require_open(locked(webhook.account)[0])
        before = _locked_hook(webhook).disabled_reason
        if not webhooks.enable(webhook_id=webhook.pk, now=now):
            raise Conflict("Staff did not switch this webhook off: its managers switch it on.", attr="is_active")
        record(action="webhook.enable", obj=webhook, by=by, before={"disabled_reason": before}, now=now)


def switch_off_strangers(*, account: Account, now: datetime) -> None:
    """Switch off, here and below, what was made by somebody who manages it no more since the account moved.

    In the mover's transaction. Who manages it now is told, and switches on again what they want.
    """
    made = Webhook.objects.active().filter(account__path__startswith=account.path, created_by__isnull=False)
    for hook in made.select_related("account", "created_by"):
        role = hook.account.role_of(hook.created_by)
        if role is None or role < Role.MANAGER:
            webhooks.disable(webhook_id=hook.pk, reason="Who made it manages this account no more.", now=now)


def tell_of_disabled(*, now: datetime) -> int:
    """Write to who manages an account that its webhook was switched off, once each time; tell for how many."""
    untold = Webhook.objects.filter(disabled_at__isnull=False, told_at__isnull=True).select_related("account")
    told = 0
    for hook in untold[:BATCH]:
        with transaction.atomic():
            mine = Webhook.objects.filter(pk=hook.pk, disabled_at=hook.disabled_at, told_at__isnull=True)
            if not mine.update(told_at=now, updated_at=now):
                continue
            told += 1
            for user in people_of(hook.account, Role.MANAGER):
                outbox.post(
                    to=user.email,
                    subject=f"{hook.account}: a webhook was switched off",
                    template="mail/webhook_disabled.txt",
                    context={"hook": hook, "user": user, "base_url": settings.BASE_URL},
                    key=f"webhook:{hook.pk}:{hook.disabled_at:%Y%m%d%H%M%S%f}:{user.pk}",
                )
    return told


def require_manager(account: Account, by: User) -> None:
    """Raise NotAllowed below a manager: staff put accounts right, and send nothing of theirs elsewhere."""
    role = account.role_of(by)
    if role is None or role < Role.MANAGER:
        raise NotAllowed(f"This takes the role of a manager of {account}.")


def _locked_hook(webhook: Webhook) -> Webhook:
    hook: Webhook | None = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook.pk).first()
    if hook is None:
        raise NotFound("This webhook is gone already.")
    return hook


def _refuse_touched(hook: Webhook, what: str, *, attr: str | None = None) -> None:
    """Raise DisabledByStaff for one that staff switched off."""
    if hook.is_disabled_by_staff:
        why = f"Staff of the platform switched this webhook off: {hook.disabled_reason}"
        raise DisabledByStaff(f"{why.rstrip('.')}. Only they {what}.", attr=attr)


def _refuse_disabled(account: Account, url: str) -> None:
    """Raise DisabledByStaff for an address at which staff switched off a webhook of anybody in this account's tree.

    Whatever is asked for behind its question mark: else it would be made anew beside the one that is off.
    """
    root = (account.ancestor_ids or [account.pk])[0]
    off = Webhook.objects.filter(disabled_by__isnull=False, account__path__startswith=f"/{root}/")
    if any(_place(other) == _place(url) for other in off.values_list("url", flat=True)):
        raise DisabledByStaff("Staff of the platform switched off a webhook to this address: ask them.", attr="url")


def _place(url: str) -> str:
    return url.partition("://")[2].partition("?")[0]


def _listen(account: Account, includes_children: bool) -> None:
    """Have tasks and the rest look for webhooks here, and below where it hears of that; see Account.is_listened."""
    heard = Account.objects.under(account) if includes_children else Account.objects.filter(pk=account.pk)
    heard.filter(is_listened=False).update(is_listened=True)


def _listen_no_more(account: Account) -> None:
    """Have them look no more where nothing is left that may hear, here and below; under the lock of the whole family.

    Who makes a webhook locks its account: it committed and is seen here, or waits and listens anew.
    """
    if Webhook.objects.filter(account__in=account.ancestor_ids, includes_children=True).exists():
        return
    path = ExpressionWrapper(OuterRef("path"), output_field=CharField())
    own = Webhook.objects.filter(account=OuterRef("pk"))
    above = Webhook.objects.filter(includes_children=True).annotate(of=path).filter(of__startswith=F("account__path"))
    heard = Account.objects.under(account).filter(is_listened=True)
    heard.exclude(Exists(own)).exclude(Exists(above)).update(is_listened=False)


def _locked(account: Account, includes_children: bool) -> Account:
    """Lock an account that listens, and the root where it listens to more: what moves meanwhile waits there."""
    roots = [Account(pk=pk) for pk in account.ancestor_ids[:1]] if includes_children else []
    here = locked(account, *roots)[0]
    if here.path != account.path:
        raise AccountMoved(account)
    return here


def _sorted(events: Iterable[str]) -> list[str]:
    return sorted(set(map(str, events)))


def _described(hook: Webhook) -> dict[str, Any]:
    return {name: getattr(hook, name) for name in CHANGEABLE}
