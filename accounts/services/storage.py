"""How much the files of an account may take, and take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Greatest

from accounts.models import Account, StorageUse, User
from gaas.audit.services import record
from gaas.lib.amounts import show_bytes
from gaas.lib.errors import DomainError
from gaas.lib.retry import retried


class StorageFull(DomainError):
    """State that the files of the account would take more than its quota."""

    code = "storage_full"
    depends_on_state = True


@dataclass(frozen=True)
class Storage:
    """Hold what an account's files take and may take, in bytes."""

    used: int
    quota: int


def default_quota() -> int:
    return int(settings.STORAGE_QUOTA_MIB) * 1024 * 1024


def storage_of_each(accounts: Iterable[Account]) -> dict[UUID, Storage]:
    """Read the use of many accounts at once."""
    ids = [account.pk for account in accounts]
    rows = StorageUse.objects.filter(account__in=ids).values_list("account_id", "used_bytes", "quota_bytes")
    found = {account_id: Storage(used, default_quota() if quota is None else quota) for account_id, used, quota in rows}
    return {id_: found.get(id_) or Storage(0, default_quota()) for id_ in ids}


def storage_of(account: Account) -> Storage:
    return storage_of_each([account])[account.pk]


@retried
def reserve_storage(*, account: Account, size: int) -> None:
    """Count `size` bytes on an account; one conditional UPDATE, so that parallel callers never go over.

    Raises StorageFull, naming what is missing.
    """
    quota = Coalesce(F("quota_bytes"), Value(default_quota()))
    room = StorageUse.objects.filter(account=account, used_bytes__lte=quota - size)
    if room.update(used_bytes=F("used_bytes") + size):
        return
    use, _ = StorageUse.objects.get_or_create(account=account)
    if room.update(used_bytes=F("used_bytes") + size):
        return
    most = default_quota() if use.quota_bytes is None else use.quota_bytes
    raise StorageFull(
        f"This takes {show_bytes(size)}, and {show_bytes(use.used_bytes)} of the {show_bytes(most)} that {account} may "
        f"keep are taken. Delete uploads or results that are not needed, or ask staff for more storage.",
        attr="size",
    )


@retried
def give_back_storage(*, account_id: UUID, size: int) -> None:
    """Take bytes off an account's count; never below nothing."""
    less = Greatest(F("used_bytes") - size, Value(0))
    StorageUse.objects.filter(account_id=account_id).update(used_bytes=less)


@retried
def set_storage_quota(*, account: Account, quota_bytes: int | None, by: User | None, reason: str) -> StorageUse:
    """Set how much the files of an account may take; None leaves it to the platform's setting.

    What is kept already stays, also where it is more than that.
    """
    use, _ = StorageUse.objects.select_for_update(no_key=True).get_or_create(account=account)
    before, use.quota_bytes = use.quota_bytes, quota_bytes
    use.save(update_fields=["quota_bytes", "updated_at"])
    record(
        action="account.set_storage_quota",
        obj=account,
        by=by,
        before={"quota_bytes": before},
        after={"quota_bytes": quota_bytes},
        reason=reason,
    )
    return use
