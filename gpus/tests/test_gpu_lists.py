from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from gaas.lib import clock
from gpus import services
from gpus.choices import Availability
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device, a_gpu, a_sync, an_active_host

pytestmark = pytest.mark.django_db

# The database's clock is asked on PostgreSQL.
CLOCK = 1 if connection.vendor == "postgresql" else 0


def ids(answer):
    assert answer.status_code == 200, answer.data
    return [row["id"] for row in answer.data["results"]]


class TestVisible:
    def test_what_is_public_and_listed_is_seen_by_all(self, api, olga, charlie):
        gpu = a_gpu(olga.personal_account)

        assert ids(api(charlie).get("/api/v1/gpus/")) == [str(gpu.pk)]
        assert api(charlie).get(f"/api/v1/gpus/{gpu.pk}/").status_code == 200

    @pytest.mark.parametrize("change", [{"is_listed": False}, {"visibility": "PRIVATE"}, {"visibility": "TREE"}])
    def test_the_rest_is_seen_by_its_account_and_staff_alone(self, api, olga, charlie, dana, change):
        gpu = a_gpu(olga.personal_account, **change)

        assert ids(api(charlie).get("/api/v1/gpus/")) == []
        assert api(charlie).get(f"/api/v1/gpus/{gpu.pk}/").status_code == 404
        assert ids(api(olga).get("/api/v1/gpus/")) == [str(gpu.pk)]
        assert ids(api(dana).get("/api/v1/gpus/")) == [str(gpu.pk)]

    def test_a_tree_is_seen_from_its_other_accounts(self, api, family, child, charlie, alice):
        gpu = a_gpu(family, visibility="TREE")

        assert ids(api(charlie).get("/api/v1/gpus/")) == [str(gpu.pk)]
        assert ids(api(alice).get("/api/v1/gpus/")) == []

    def test_those_of_a_revoked_host_are_off_show(self, api, olga, charlie):
        gpu = a_gpu(olga.personal_account)
        gpu.host.revoke(by=olga, reason="", now=clock.now())

        assert ids(api(charlie).get("/api/v1/gpus/")) == []
        assert ids(api(olga).get("/api/v1/gpus/")) == [str(gpu.pk)]

    def test_without_a_token_it_is_401(self, api):
        assert api().get("/api/v1/gpus/").status_code == 401


class TestUsable:
    def test_it_follows_the_owners_choice(self, olga, family, child, alice):
        public = a_gpu(olga.personal_account)
        tree = a_gpu(family, visibility="TREE")
        private = a_gpu(child, visibility="PRIVATE")

        assert set(GPU.objects.usable_by(alice.personal_account)) == {public}
        assert set(GPU.objects.usable_by(family)) == {public, tree}
        assert set(GPU.objects.usable_by(child)) == {public, tree, private}
        assert set(Host.objects.offered_to(alice.personal_account)) == {public.host}


class TestFree:
    def test_a_listed_one_of_a_live_host_is(self, olga, django_assert_num_queries):
        gpu = a_gpu(olga.personal_account)
        now = clock.now()

        with django_assert_num_queries(1):
            (found,) = GPU.objects.free(now=now)
            assert found.host.account.path == gpu.host.account.path
        assert found == gpu

    def test_all_others_are_not(self, olga, settings):
        gpu = a_gpu(olga.personal_account)
        now = clock.now()

        assert not GPU.objects.free(now=now + timedelta(seconds=settings.LEASE_SECONDS + 1))
        for verb in ("drain", "unlist", "retire"):
            getattr(gpu, verb)(by=olga, now=now)
            assert not GPU.objects.free(now=now), verb

    @pytest.mark.parametrize("verb", ["drain", "maintenance", "revoke"])
    def test_those_of_a_host_that_takes_no_work_are_not(self, olga, verb):
        gpu = a_gpu(olga.personal_account)
        getattr(gpu.host, verb)(by=olga, now=clock.now())

        assert not GPU.objects.free(now=clock.now())

    def test_one_that_is_no_longer_reported_is_not(self, olga):
        gpu = a_gpu(olga.personal_account)
        services.hear(host=Host.objects.get(), report=a_sync(2), now=clock.now())

        assert not GPU.objects.free(now=clock.now())
        assert GPU.objects.with_availability(now=clock.now()).get(pk=gpu.pk).availability == Availability.OFFLINE


class TestAvailability:
    def of(self, gpu, now=None):
        return GPU.objects.with_availability(now=now or clock.now()).get(pk=gpu.pk).availability

    def test_it_says_what_a_gpu_could_do_now(self, olga, settings):
        gpu = a_gpu(olga.personal_account)
        now = clock.now()
        assert self.of(gpu) == Availability.AVAILABLE
        assert self.of(gpu, now + timedelta(seconds=settings.LEASE_SECONDS + 1)) == Availability.OFFLINE

        gpu.drain(by=olga, now=now)
        assert self.of(gpu) == Availability.DRAINING
        gpu.undrain(by=olga, now=now)
        gpu.host.maintenance(by=olga, now=now)
        assert self.of(gpu) == Availability.MAINTENANCE
        gpu.host.drain(by=olga, now=now)
        assert self.of(gpu) == Availability.DRAINING
        gpu.unlist(by=olga, now=now)
        assert self.of(gpu) == Availability.UNLISTED
        gpu.retire(by=olga, now=now)
        assert self.of(gpu) == Availability.RETIRED
        gpu.unlist(by=olga, now=now)
        gpu.host.revoke(by=olga, now=now)
        assert self.of(gpu) == Availability.OFFLINE


class TestFilters:
    @pytest.fixture
    def gpus(self, olga, family):
        big = a_gpu(olga.personal_account, price_per_hour=3_000_000)
        host = an_active_host(
            family,
            a_device("GPU-small", model="NVIDIA T4", vram_mib=16_000),
            a_device("SIM-1", model="Simulated 24", vram_mib=24_000, is_simulated=True, index=1),
            name="attic",
            region="north",
        )
        small, simulated = host.gpus.order_by("index")
        for gpu in (small, simulated):
            gpu.offer(by=None, now=clock.now(), visibility="PUBLIC", price_per_hour=500_000)
            gpu.list(by=None, now=clock.now())
        return {"big": big, "small": small, "simulated": simulated}

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("model=h100", {"big"}),
            ("search=t4", {"small"}),
            ("search=att", {"small", "simulated"}),
            ("min_vram_mib=24000", {"big", "simulated"}),
            ("max_price=0.5", {"small", "simulated"}),
            ("status=LISTED", {"big", "small", "simulated"}),
            ("availability=OFFLINE", set()),
            ("availability=AVAILABLE&region=north", {"small", "simulated"}),
            ("simulated=true", {"simulated"}),
            ("simulated=false", {"big", "small"}),
            ("accepts_quota=true", {"big"}),
            ("visibility=TREE", set()),
        ],
    )
    def test_they_choose(self, api, alice, gpus, query, names):
        assert set(ids(api(alice).get(f"/api/v1/gpus/?{query}"))) == {str(gpus[name].pk) for name in names}

    def test_by_owner_and_host(self, api, alice, gpus, family):
        own = ids(api(alice).get(f"/api/v1/gpus/?owner={family.pk}"))
        on_host = ids(api(alice).get(f"/api/v1/gpus/?host={gpus['big'].host_id}"))

        assert set(own) == {str(gpus["small"].pk), str(gpus["simulated"].pk)}
        assert on_host == [str(gpus["big"].pk)]

    def test_by_price_a_page_at_a_time(self, api, alice, gpus):
        client = api(alice)
        first = client.get("/api/v1/gpus/?ordering=-price_per_hour&page_size=1")
        second = client.get(first.data["next"])

        assert ids(first) == [str(gpus["big"].pk)]
        assert ids(second) in ([str(gpus["small"].pk)], [str(gpus["simulated"].pk)])

    @pytest.mark.parametrize(
        "query",
        [
            "owner__person__password__startswith=p",
            "wish=1",
            "min_vram_mib=1_0",
            "min_vram_mib=x",
            "max_price=1e3",
            "max_price=NaN",
            "status=listed",
            "availability=HAPPY",
            "simulated=maybe",
            "owner=x",
            "ordering=host__secret_hash",
            "cursor=x",
            "page_size=0",
            "page_size=201",
            "fields=secret_hash",
        ],
    )
    def test_a_wrong_one_is_named(self, api, alice, query):
        answer = api(alice).get(f"/api/v1/gpus/?{query}")

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"] == query.partition("=")[0]


class TestQueries:
    def test_a_page_of_any_length_takes_the_same_number(self, api, olga, alice, django_assert_num_queries):
        client = api(alice)
        for length in (1, 3):
            for _ in range(length):
                a_gpu(olga.personal_account)
            with django_assert_num_queries(2 + CLOCK):  # who calls; the page
                client.get("/api/v1/gpus/")

    def test_one_takes_the_same(self, api, olga, alice, django_assert_num_queries):
        gpu, client = a_gpu(olga.personal_account), api(alice)

        with django_assert_num_queries(2 + CLOCK):
            answer = client.get(f"/api/v1/gpus/{gpu.pk}/")
        assert answer["ETag"]
        assert client.get(f"/api/v1/gpus/{gpu.pk}/", HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 304
