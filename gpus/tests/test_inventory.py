from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gpus import services
from gpus.choices import GPUStatus, Visibility
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device, a_joined_host, a_sync, an_active_host

pytestmark = pytest.mark.django_db


def hear(host, seq, *devices):
    return services.hear(host=Host.objects.get(pk=host.pk), report=a_sync(seq, gpus=list(devices)), now=clock.now())


@pytest.fixture
def host(olga):
    return a_joined_host(olga.personal_account)[0]


class TestInventory:
    def test_a_new_device_is_unlisted_private_and_without_a_price(self, host):
        heard = hear(host, 1, a_device("GPU-1"))

        gpu = GPU.objects.get()
        assert heard.changed_gpus
        assert (gpu.host, gpu.model, gpu.vram_mib, gpu.capability_number) == (host, "NVIDIA H100 80GB HBM3", 81_559, 90)
        assert (gpu.status, gpu.visibility, gpu.price_per_hour) == (GPUStatus.UNLISTED, Visibility.PRIVATE, 0)
        assert not gpu.accepts_quota

    def test_a_device_of_the_servers_own_machine_is_offered_to_all_at_once(self):
        host, _ = services.open_local_host(now=clock.now())
        hear(host, 1, a_device("SIM-1", is_simulated=True))

        gpu = GPU.objects.get()
        assert (gpu.status, gpu.visibility, gpu.accepts_quota) == (GPUStatus.LISTED, Visibility.PUBLIC, True)
        assert gpu.is_simulated

    def test_it_is_followed(self, host):
        hear(host, 1, a_device("GPU-1", driver="550"))
        heard = hear(host, 2, a_device("GPU-1", driver="560", index=3))

        gpu = GPU.objects.get()
        assert heard.changed_gpus
        assert (gpu.driver, gpu.index) == ("560", 3)

    def test_the_same_again_changes_nothing(self, host):
        hear(host, 1, a_device("GPU-1"), a_device("GPU-2", index=1))
        before = list(GPU.objects.values())
        heard = hear(host, 2, a_device("GPU-2", index=1), a_device("GPU-1"))

        assert not heard.changed_gpus
        assert list(GPU.objects.values()) == before

    def test_one_that_is_gone_stays_as_absent_since_the_sync_before(self, host):
        hear(host, 1, a_device("GPU-1"), a_device("GPU-2", index=1))
        heard_at = Host.objects.get().last_sync_at
        heard = hear(host, 2, a_device("GPU-1"))

        gone = GPU.objects.get(uuid="GPU-2")
        assert heard.changed_gpus
        assert not gone.is_present
        assert gone.seen_at == heard_at
        assert GPU.objects.get(uuid="GPU-1").is_present

    def test_one_that_comes_back_is_present_again(self, host):
        hear(host, 1, a_device("GPU-1"))
        hear(host, 2)
        heard = hear(host, 3, a_device("GPU-1"))

        assert heard.changed_gpus
        assert GPU.objects.get().is_present

    def test_one_named_twice_counts_once(self, host):
        heard = hear(host, 1, a_device("GPU-1", index=0), a_device("GPU-1", index=5))

        assert GPU.objects.get().index == 0
        assert any("more than once" in warning for warning in heard.warnings)


class TestAnotherDevice:
    @pytest.mark.parametrize("change", [{"model": "NVIDIA B200"}, {"vram_mib": 180_000}])
    def test_a_listed_gpu_that_claims_to_be_more_must_be_listed_by_staff_again(self, host, root, change):
        hear(host, 1, a_device("GPU-1"))
        GPU.objects.get().list(by=root, now=clock.now())

        heard = hear(host, 2, a_device("GPU-1", **change))

        gpu = GPU.objects.get()
        assert gpu.status == GPUStatus.UNLISTED
        assert gpu.first_listed_at is None
        assert any("GPU-1" in warning for warning in heard.warnings)

    def test_so_does_one_that_is_unlisted_for_now(self, host, root):
        hear(host, 1, a_device("GPU-1"))
        GPU.objects.get().list(by=root, now=clock.now())
        GPU.objects.get().unlist(by=root, now=clock.now())

        hear(host, 2, a_device("GPU-1", model="NVIDIA B200"))

        assert GPU.objects.get().first_listed_at is None

    def test_a_little_more_memory_after_a_driver_update_is_the_same_device(self, host, root):
        hear(host, 1, a_device("GPU-1"))
        GPU.objects.get().list(by=root, now=clock.now())

        hear(host, 2, a_device("GPU-1", vram_mib=81_920, driver="560"))

        assert GPU.objects.get().status == GPUStatus.LISTED


class TestForeign:
    @pytest.fixture
    def theirs(self, alice):
        return an_active_host(alice.personal_account, a_device("GPU-A"), name="theirs")

    def test_it_stays_where_it_is_and_the_others_go_on(self, host, theirs):
        heard = hear(host, 1, a_device("GPU-A"), a_device("GPU-B"))

        assert GPU.objects.get(uuid="GPU-A").host == theirs
        assert GPU.objects.get(uuid="GPU-B").host == host
        assert any("GPU-A" in warning for warning in heard.warnings)

    def test_the_warning_is_repeated_and_the_alarm_is_not(self, host, theirs):
        for seq in (1, 2, 3):
            assert any("GPU-A" in w for w in hear(host, seq, a_device("GPU-A"), a_device("GPU-B")).warnings)

        assert AuditEvent.objects.filter(action="host.gpu_of_another_host").count() == 1

    def test_a_host_with_nothing_else_is_refused_and_nothing_is_stored(self, host, theirs):
        for seq in (1, 2):
            with pytest.raises(services.GpuOfAnotherHost) as refused:
                hear(host, seq, a_device("GPU-A"))

        assert (refused.value.status, refused.value.code) == (409, "gpu_of_another_host")
        host.refresh_from_db()
        assert host.last_sync_at is None
        assert host.seq == 0
        assert AuditEvent.objects.filter(action="host.gpu_of_another_host").count() == 1
        assert GPU.objects.get().host == theirs


class TestLetGo:
    """A GPU that its owner let go of may turn up elsewhere."""

    def test_a_retired_one_moves_and_starts_over(self, host, alice, root):
        theirs = an_active_host(alice.personal_account, a_device("GPU-A"), name="theirs")
        gpu = theirs.gpus.get()
        gpu.offer(by=alice, now=clock.now(), price_per_hour=5_000_000, visibility="PUBLIC")
        gpu.list(by=root, now=clock.now())
        gpu.retire(by=alice, now=clock.now())

        hear(host, 1, a_device("GPU-A"))

        gpu.refresh_from_db()
        assert gpu.host == host
        assert (gpu.status, gpu.visibility, gpu.price_per_hour) == (GPUStatus.UNLISTED, Visibility.PRIVATE, 0)
        assert gpu.first_listed_at is None
        assert AuditEvent.objects.filter(action="gpu.unlisted", reason__contains=str(theirs.pk)).exists()

    def test_those_of_a_revoked_host_move(self, host, olga):
        old = an_active_host(olga.personal_account, a_device("GPU-A"), name="old")
        old.revoke(by=olga, reason="reinstalled", now=clock.now())

        heard = hear(host, 1, a_device("GPU-A"))

        assert heard.changed_gpus
        assert GPU.objects.get().host == host

    def test_a_servers_machine_that_was_joined_anew_offers_them_at_once(self, root):
        old, _ = services.open_local_host(now=clock.now())
        hear(old, 1, a_device("GPU-A"))
        old.refresh_from_db()
        old.revoke(by=root, reason="", now=clock.now())
        new, _ = services.open_local_host(now=clock.now())

        hear(new, 1, a_device("GPU-A"))

        gpu = GPU.objects.get()
        assert (gpu.host, gpu.status, gpu.visibility) == (new, GPUStatus.LISTED, Visibility.PUBLIC)
