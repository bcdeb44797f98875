"""The pages of who offers GPUs."""

from __future__ import annotations

import re

import pytest

from accounts.choices import Role
from accounts.models import Membership
from gaas.lib import clock
from gpus.models import GPU, Host
from gpus.services import samples
from gpus.tests.fleet import a_gpu, an_active_host

pytestmark = pytest.mark.django_db


@pytest.fixture
def gpu(olga):
    return a_gpu(olga.personal_account)


def act(client, gpu_or_host, verb: str, **fields):
    host = gpu_or_host.host if isinstance(gpu_or_host, GPU) else gpu_or_host
    of = str(gpu_or_host.pk) if isinstance(gpu_or_host, GPU) else ""
    return client.post(f"/hosts/{host.pk}/", {"do": verb, "of": of, **fields})


class TestList:
    def test_an_empty_one_says_what_to_do(self, client, olga):
        client.force_login(olga)
        page = client.get("/hosts/").content.decode()
        assert "None yet. Add one below" in page

    def test_a_host_is_added_and_its_command_shown_once(self, client, olga):
        client.force_login(olga)
        page = client.post(
            "/hosts/", {"do": "add_host", "of": "", "name": "rig-1", "account": str(olga.personal_account.pk)}
        )
        assert re.search("GAAS_JOIN_TOKEN=gaasj_", page.content.decode())
        assert "gaasj_" not in client.get("/hosts/").content.decode()
        assert Host.objects.get().name == "rig-1"

    def test_nobody_adds_one_elsewhere(self, client, olga, alice):
        client.force_login(alice)
        answer = client.post(
            "/hosts/", {"do": "add_host", "of": "", "name": "x", "account": str(olga.personal_account.pk)}
        )
        assert answer.status_code == 404
        assert not Host.objects.exists()

    def test_its_queries_do_not_grow(self, client, olga, django_assert_max_num_queries):
        for number in range(5):
            an_active_host(olga.personal_account, name=f"rig-{number}")
        client.force_login(olga)
        with django_assert_max_num_queries(12):
            page = client.get("/hosts/").content.decode()
        assert page.count("100 %") == 5


class TestHost:
    def test_it_shows_gpus_terms_and_curves(self, client, olga, gpu):
        samples.keep_samples(host=gpu.host, samples={gpu.uuid: {"utilisation": 42, "power_w": 300}}, now=clock.now())
        client.force_login(olga)
        page = client.get(f"/hosts/{gpu.host_id}/").content.decode()
        assert "GPU 0: NVIDIA H100" in page
        assert "From 42 % to 42 %" in page
        assert "Always open." in page

    def test_one_of_others_is_not_found(self, client, alice, gpu):
        client.force_login(alice)
        assert client.get(f"/hosts/{gpu.host_id}/").status_code == 404
        assert act(client, gpu.host, "drain").status_code == 404

    def test_who_only_looks_changes_nothing(self, client, alice, olga, gpu):
        Membership.objects.create(account=olga.personal_account, user=alice, role=Role.VIEWER)
        client.force_login(alice)
        page = client.get(f"/hosts/{gpu.host_id}/").content.decode()
        assert "Revoke it for good" not in page
        assert act(client, gpu.host, "drain").status_code == 403
        assert act(client, gpu, "offer", price="1", visibility="PUBLIC").status_code == 403

    def test_foreign_processes_are_named(self, client, olga, gpu):
        GPU.objects.update(foreign_processes=2)
        client.force_login(olga)
        assert (
            "2 programs that the platform did not start use it" in client.get(f"/hosts/{gpu.host_id}/").content.decode()
        )


class TestVerbs:
    @pytest.fixture
    def owner(self, client, olga):
        client.force_login(olga)
        return client

    def test_drain_and_back(self, owner, gpu):
        assert act(owner, gpu.host, "drain", reason="new fans").status_code == 302
        assert Host.objects.get().status == "DRAINING"
        assert act(owner, gpu.host, "undrain").status_code == 302
        assert act(owner, gpu, "drain").status_code == 302
        assert (Host.objects.get().status, GPU.objects.get().status) == ("ACTIVE", "DRAINING")

    def test_terms_are_set(self, owner, gpu):
        assert act(owner, gpu, "offer", price="2.5", visibility="TREE").status_code == 302
        gpu.refresh_from_db()
        assert (gpu.price_per_hour, gpu.visibility, gpu.accepts_quota) == (2_500_000, "TREE", False)

    @pytest.mark.parametrize("price", ["-1", "NaN", "1e9", "", "0.0000001"])
    def test_a_price_that_is_none_is_refused(self, owner, gpu, price):
        assert act(owner, gpu, "offer", price=price, visibility="TREE").status_code == 400

    def test_hours_are_written_as_people_do(self, owner, gpu):
        lines = "MON-FRI 18:00-08:00\r\nsat, SUN 00:00–24:00"
        assert act(owner, gpu, "schedule", windows=lines, time_zone="Europe/Berlin").status_code == 302
        gpu.refresh_from_db()
        assert [window["days"] for window in gpu.schedule["windows"]] == [
            ["MON", "TUE", "WED", "THU", "FRI"],
            ["SAT", "SUN"],
        ]
        shown = owner.get(f"/hosts/{gpu.host_id}/").content.decode()
        assert "Open MON–FRI 18:00–08:00; SAT–SUN 00:00–24:00 (Europe/Berlin)." in shown
        # What the form shows is what it takes.
        text = re.search(r"<textarea[^>]*>\s*([^<]*)</textarea>", shown).group(1)
        assert act(owner, gpu, "schedule", windows=text, time_zone="Europe/Berlin").status_code == 302
        assert act(owner, gpu, "schedule", windows="", time_zone="UTC").status_code == 302
        gpu.refresh_from_db()
        assert gpu.schedule == {}

    @pytest.mark.parametrize(
        ("lines", "zone"),
        [
            ("Monday 18:00-08:00", "UTC"),
            ("MON 25:00-26:00", "UTC"),
            ("XXX 01:00-02:00", "UTC"),
            ("MON 01:00-02:00", "Mars/X"),
        ],
    )
    def test_hours_without_sense_are_refused(self, owner, gpu, lines, zone):
        assert act(owner, gpu, "schedule", windows=lines, time_zone=zone).status_code == 400

    def test_maintenance_is_announced(self, owner, gpu):
        fields = {"begins_at": "2099-01-01T10:00", "ends_at": "2099-01-01T12:00"}
        assert act(owner, gpu.host, "maintenance", **fields).status_code == 400  # too far ahead
        assert act(owner, gpu.host, "maintenance").status_code == 302
        assert Host.objects.get().status == "MAINTENANCE"

    def test_revoke_takes_a_reason(self, owner, gpu):
        assert act(owner, gpu.host, "revoke").status_code == 400
        assert act(owner, gpu.host, "revoke", reason="sold").status_code == 302
        assert Host.objects.get().status == "REVOKED"

    def test_a_gpu_of_another_host_is_not_touched(self, owner, gpu, alice):
        other = a_gpu_of(alice)
        answer = owner.post(f"/hosts/{gpu.host_id}/", {"do": "drain", "of": str(other.pk)})
        assert answer.status_code == 404
        other.refresh_from_db()
        assert other.status == "LISTED"


def a_gpu_of(user) -> GPU:
    return a_gpu(user.personal_account)
