from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gpus import services
from gpus.agent.protocol import PROTOCOL
from gpus.choices import GPUStatus, HostStatus
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device, a_gpu, a_joined_host, a_sync, an_active_host, some_facts

pytestmark = pytest.mark.django_db

HOSTS, GPUS = "admin:gpus_host", "admin:gpus_gpu"


@pytest.fixture
def staff(client, dana):
    client.force_login(dana)
    return client


def choose(client, name, action, *rows, **fields):
    """Choose an action on a list page; with fields, answer its form too."""
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows], **fields}
    return client.post(reverse(f"{name}_changelist"), {**data, **({"post": "yes"} if fields else {})}, follow=True)


def text_of(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


class TestPages:
    def test_an_empty_list_says_what_to_do(self, staff):
        assert "join token" in text_of(staff.get(reverse(f"{HOSTS}_changelist")))
        assert "GPUs appear by themselves" in text_of(staff.get(reverse(f"{GPUS}_changelist")))

    def test_a_search_without_a_hit_does_not(self, staff, olga):
        a_gpu(olga.personal_account)
        text = text_of(staff.get(reverse(f"{GPUS}_changelist") + "?q=nothing"))

        assert "Nothing matches" in text
        assert "appear by themselves" not in text

    def test_what_is_to_be_known_is_in_words(self, staff):
        host, _ = services.open_local_host(now=clock.now())
        report = a_sync(gpus=[a_device("SIM-1", is_simulated=True)], facts=some_facts(sandbox="none"))
        services.hear(host=host, report=report, now=clock.now())

        hosts = text_of(staff.get(reverse(f"{HOSTS}_changelist")))
        gpus = text_of(staff.get(reverse(f"{GPUS}_changelist")))

        assert "none: tasks see the machine" in hosts
        assert "reachable" in hosts
        assert "simulated" in gpus
        assert "Available" in gpus

    @pytest.mark.parametrize("name", [HOSTS, GPUS])
    def test_a_list_of_any_length_takes_the_same_number(self, staff, olga, name):
        counts = []
        for _ in range(2):
            a_gpu(olga.personal_account)
            with CaptureQueriesContext(connection) as queries:
                assert staff.get(reverse(f"{name}_changelist")).status_code == 200
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert counts[0] <= 12

    def test_pages_and_filters_open(self, staff, olga):
        gpu = a_gpu(olga.personal_account)
        for query in (
            "availability=AVAILABLE",
            "availability=nonsense",
            "status__exact=LISTED",
            f"q={gpu.uuid}",
            f"q={gpu.pk}",
        ):
            assert staff.get(f"{reverse(f'{GPUS}_changelist')}?{query}").status_code == 200
        assert staff.get(reverse(f"{GPUS}_change", args=[gpu.pk])).status_code == 200
        assert staff.get(reverse(f"{HOSTS}_change", args=[gpu.host_id])).status_code == 200
        assert staff.get(reverse(f"{HOSTS}_add")).status_code == 200

    def test_no_page_shows_a_hash(self, staff, olga):
        host, _ = a_joined_host(olga.personal_account)
        text = text_of(staff.get(reverse(f"{HOSTS}_change", args=[host.pk])))

        assert host.secret_hash not in text

    def test_a_name_is_text(self, staff, olga):
        an_active_host(olga.personal_account, a_device(model="<img src=x onerror=alert(1)>"), name="<script>x</script>")

        for name in (HOSTS, GPUS):
            text = text_of(staff.get(reverse(f"{name}_changelist")))
            assert "<img src=x" not in text
            assert "<script>x" not in text

    def test_nothing_is_deleted_and_no_gpu_added(self, staff, root, client, olga):
        gpu = a_gpu(olga.personal_account)
        client.force_login(root)

        assert client.get(reverse(f"{GPUS}_add")).status_code == 403
        assert client.post(reverse(f"{GPUS}_delete", args=[gpu.pk]), {"post": "yes"}).status_code == 403
        assert client.post(reverse(f"{HOSTS}_delete", args=[gpu.host_id]), {"post": "yes"}).status_code == 403


class TestHost:
    def test_adding_one_shows_a_token_that_works_once(self, staff, olga):
        data = {"account": str(olga.personal_account.pk), "name": "rig", "region": "", "labels": '{"rack": "1"}'}
        answer = staff.post(reverse(f"{HOSTS}_add"), data, follow=True)

        text = text_of(answer)
        token = re.search(r"gaasj_[\w-]+", text)[0]
        host, _ = services.join(token=token, facts=some_facts(), protocol=PROTOCOL, now=clock.now())
        assert (host.name, host.account, host.labels) == ("rig", olga.personal_account, {"rack": "1"})
        assert "gaasj_" not in text_of(staff.get(reverse(f"{HOSTS}_change", args=[host.pk])))

    def test_a_new_join_token_is_shown_once(self, staff, olga):
        host, _ = a_joined_host(olga.personal_account)
        url = reverse(f"{HOSTS}_new_join_token", args=[host.pk])
        assert "gaasj_" not in text_of(staff.get(url))

        answer = staff.post(url, {}, follow=True)

        assert "gaasj_" in text_of(answer)

    def test_revoking_asks_why(self, staff, olga, dana):
        host = an_active_host(olga.personal_account)
        choose(staff, HOSTS, "revoke", host)
        host.refresh_from_db()
        assert host.status == HostStatus.ACTIVE

        answer = choose(staff, HOSTS, "revoke", host, reason="sold")

        assert "1 revoked" in text_of(answer)
        event = AuditEvent.objects.get(action="host.revoked")
        assert (event.actor, event.reason) == (dana, "sold")

    def test_a_wrong_state_is_skipped_with_its_reason(self, staff, olga):
        one, two = an_active_host(olga.personal_account), an_active_host(olga.personal_account)
        two.drain(by=olga, now=clock.now())

        answer = choose(staff, HOSTS, "undrain", one, two)

        assert "1 back at work, 1 skipped" in text_of(answer)

    def test_a_maintenance_is_announced_with_its_times(self, staff, olga):
        host = an_active_host(olga.personal_account)
        begin = clock.now() + timedelta(hours=1)
        times = {"begins_at": f"{begin:%Y-%m-%d %H:%M}", "ends_at": f"{begin + timedelta(hours=2):%Y-%m-%d %H:%M}"}

        answer = choose(staff, HOSTS, "maintenance", host, reason="disks", **times)

        host.refresh_from_db()
        assert "1 in maintenance, or have it announced" in text_of(answer)
        assert host.status == HostStatus.ACTIVE
        assert host.maintenance_until - host.maintenance_from == timedelta(hours=2)

    def test_a_description_is_saved_by_its_verb(self, staff, olga):
        host = an_active_host(olga.personal_account)
        data = {"name": "rig 2", "region": "eu", "labels": "{}"}
        staff.post(reverse(f"{HOSTS}_change", args=[host.pk]), {**data, "status": "REVOKED"}, follow=True)

        host.refresh_from_db()
        assert (host.name, host.region, host.status) == ("rig 2", "eu", HostStatus.ACTIVE)
        assert AuditEvent.objects.filter(action="host.describe").exists()

    @pytest.mark.parametrize("labels", ["[]", "1", '{"a": 1}', '{"a b": "c"}', "x"])
    def test_labels_are_held_to_what_the_api_takes(self, staff, olga, labels):
        host = an_active_host(olga.personal_account)
        answer = staff.post(reverse(f"{HOSTS}_change", args=[host.pk]), {"name": "new", "labels": labels}, follow=True)

        assert answer.status_code == 200
        host.refresh_from_db()
        assert host.name == "rig"


class TestGPU:
    def test_staff_lists_many_at_once(self, staff, olga):
        new = [a_gpu(olga.personal_account, is_listed=False) for _ in range(2)]
        retired = a_gpu(olga.personal_account)
        retired.retire(by=olga, now=clock.now())

        answer = choose(staff, GPUS, "list_it", *new, retired, reason="")

        assert "2 listed, 1 skipped" in text_of(answer)
        assert GPU.objects.filter(status=GPUStatus.LISTED).count() == 2

    def test_a_schedule_is_held_to_what_the_api_takes(self, staff, olga):
        gpu = a_gpu(olga.personal_account)
        address = reverse(f"{GPUS}_change", args=[gpu.pk])
        terms = {"price_usd": "1", "visibility": "PUBLIC", "labels": "{}"}
        window = {"days": ["MON"], "from": "18:00", "until": "08:00"}

        refused = staff.post(address, {**terms, "schedule": json.dumps({"time_zone": "Mars/X", "windows": [window]})})
        assert "Give a time zone" in text_of(refused)
        staff.post(address, {**terms, "schedule": json.dumps({"time_zone": "UTC", "windows": [window]})})
        gpu.refresh_from_db()
        assert gpu.schedule == {"time_zone": "UTC", "windows": [window], "may_stop": False}
        staff.post(address, {**terms, "schedule": ""})
        gpu.refresh_from_db()
        assert gpu.schedule == {}

    @pytest.mark.parametrize(("verb", "status"), [("unlist", "UNLISTED"), ("drain", "DRAINING"), ("retire", "RETIRED")])
    def test_a_button_calls_the_verb(self, staff, olga, verb, status):
        gpu = a_gpu(olga.personal_account)
        staff.post(reverse(f"{GPUS}_{verb}", args=[gpu.pk]), {"reason": "dust"}, follow=True)

        gpu.refresh_from_db()
        assert gpu.status == status

    def test_the_terms_are_saved_by_their_verb_in_dollars(self, staff, olga):
        gpu = a_gpu(olga.personal_account)
        data = {"price_usd": "2.50", "visibility": "TREE", "labels": "{}"}
        staff.post(reverse(f"{GPUS}_change", args=[gpu.pk]), data, follow=True)

        gpu.refresh_from_db()
        assert (gpu.price_per_hour, gpu.visibility, gpu.accepts_quota) == (2_500_000, "TREE", False)
        assert AuditEvent.objects.filter(action="gpu.offer", object_id=str(gpu.pk), after__price_per_hour=2_500_000)

    @pytest.mark.parametrize("price", ["-1", "NaN", "1e3", "", "1_0", "0.0000001"])
    def test_a_price_that_is_none_is_refused(self, staff, olga, price):
        gpu = a_gpu(olga.personal_account, price_per_hour=1)
        data = {"price_usd": price, "visibility": "TREE", "labels": "{}"}
        staff.post(reverse(f"{GPUS}_change", args=[gpu.pk]), data, follow=True)

        gpu.refresh_from_db()
        assert (gpu.price_per_hour, gpu.visibility) == (1, "PUBLIC")


class TestPermissions:
    def test_who_only_views_sees_no_verb_and_calls_none(self, client, bob, olga):
        bob.is_staff = True
        bob.save()
        bob.user_permissions.set(Permission.objects.filter(codename__in=["view_host", "view_gpu"]))
        client.force_login(bob)
        gpu = a_gpu(olga.personal_account)

        assert client.get(reverse(f"{GPUS}_change", args=[gpu.pk])).status_code == 200
        for verb in ("list_it", "unlist", "drain", "undrain", "retire"):
            assert client.post(reverse(f"{GPUS}_{verb}", args=[gpu.pk]), {"reason": "x"}).status_code == 403
        for verb in ("drain", "undrain", "maintenance", "revoke", "new_join_token"):
            assert client.post(reverse(f"{HOSTS}_{verb}", args=[gpu.host_id]), {"reason": "x"}).status_code == 403
        gpu.refresh_from_db()
        assert gpu.status == GPUStatus.LISTED
        assert Host.objects.get().status == HostStatus.ACTIVE
