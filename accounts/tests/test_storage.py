"""How much the files of an account may take."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.models import StorageUse
from accounts.services import StorageFull, give_back_storage, reserve_storage, set_storage_quota, storage_of
from gaas.audit.models import AuditEvent
from gaas.lib.amounts import show_bytes

pytestmark = pytest.mark.django_db


class TestReserve:
    def test_it_counts_up_to_the_quota_and_not_beyond(self, lab, settings):
        settings.STORAGE_QUOTA_MIB = 1
        reserve_storage(account=lab, size=2**20)
        with pytest.raises(StorageFull, match="1 MiB of the 1 MiB"):
            reserve_storage(account=lab, size=1)
        assert storage_of(lab).used == 2**20

    def test_what_is_given_back_is_there_again(self, lab):
        reserve_storage(account=lab, size=10)
        give_back_storage(account_id=lab.pk, size=4)
        assert storage_of(lab).used == 6
        give_back_storage(account_id=lab.pk, size=100)
        assert storage_of(lab).used == 0

    def test_nothing_fits_into_nothing(self, lab, dana):
        set_storage_quota(account=lab, quota_bytes=0, by=dana, reason="closed soon")
        reserve_storage(account=lab, size=0)
        with pytest.raises(StorageFull):
            reserve_storage(account=lab, size=1)


class TestAdmin:
    def test_staff_give_an_account_another_quota_with_a_reason(self, client, root, lab):
        client.force_login(root)
        url = reverse("admin:accounts_account_set_storage", args=[lab.pk])
        client.post(url, {"gib": "3", "reason": "A large dataset", "apply": "1"})
        assert storage_of(lab).quota == 3 * 2**30
        event = AuditEvent.objects.get(action="account.set_storage_quota")
        assert (event.reason, event.after) == ("A large dataset", {"quota_bytes": 3 * 2**30})
        page = client.get(reverse("admin:accounts_account_change", args=[lab.pk])).content.decode()
        assert "0 B of 3 GiB" in page

    def test_nothing_leaves_it_to_the_platform(self, client, root, lab):
        set_storage_quota(account=lab, quota_bytes=5, by=root, reason="x")
        client.force_login(root)
        client.post(
            reverse("admin:accounts_account_set_storage", args=[lab.pk]), {"gib": "", "reason": "x", "apply": "1"}
        )
        assert StorageUse.objects.get().quota_bytes is None


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1 GiB"), (5 * 2**50, "5120 TiB")]
)
def test_sizes_are_written_for_people(size, shown):
    assert show_bytes(size) == shown
