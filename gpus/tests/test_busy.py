from __future__ import annotations

import pytest

from accounts.ledger.services import hold
from accounts.services import hours_balance
from gaas.lib import clock
from gpus import services
from gpus.choices import Availability, GPUStatus
from gpus.models import GPU
from gpus.tests.fleet import a_device, a_gpu, a_joined_host, a_sync
from tasks.models import Attempt, AttemptGPU, Task

pytestmark = pytest.mark.django_db

HOUR = 3_600_000


@pytest.fixture
def gpu(olga):
    return a_gpu(olga.personal_account)


@pytest.fixture
def link(gpu, alice):
    """An open attempt of Alice's on the GPU."""
    account = alice.personal_account
    task = Task.objects.create(
        account=account,
        payer=account,
        submitted_by=alice,
        title="Count",
        kind="script",
        spec={},
        executor="process",
        funding="quota",
        limit_ms=HOUR,
        hold=hold(balance=hours_balance(account), amount=HOUR, key="test", purpose="task"),
        epoch=1,
    )
    attempt = Attempt.objects.create(task=task, epoch=1, host=gpu.host, offered_at=clock.now(), limit_ms=HOUR)
    return AttemptGPU.objects.create(attempt=attempt, gpu=gpu, price_per_hour=0)


class TestBusy:
    def test_it_is_not_free_until_its_attempt_is_over(self, gpu, link):
        assert not GPU.objects.free(now=clock.now())
        assert GPU.objects.with_availability(now=clock.now()).get().availability == Availability.BUSY

        AttemptGPU.objects.update(is_open=False)

        assert list(GPU.objects.free(now=clock.now())) == [gpu]
        assert GPU.objects.with_availability(now=clock.now()).get().availability == Availability.AVAILABLE

    def test_it_is_still_listed(self, gpu, link):
        assert list(GPU.objects.listed()) == [gpu]

    def test_it_runs_on_when_it_is_unlisted(self, gpu, link, olga):
        gpu.unlist(by=olga, now=clock.now())

        assert GPU.objects.with_availability(now=clock.now()).get().availability == Availability.BUSY
        assert AttemptGPU.objects.get().is_open

    def test_others_see_that_it_is_busy(self, api, charlie, gpu, link):
        answer = api(charlie).get("/api/v1/gpus/?availability=BUSY")

        assert [row["id"] for row in answer.data["results"]] == [str(gpu.pk)]

    def test_it_does_not_move_to_another_host_while_something_runs_on_it(self, gpu, link, olga, alice):
        gpu.retire(by=olga, now=clock.now())
        other, _ = a_joined_host(alice.personal_account, "other")
        report = a_sync(gpus=[a_device(gpu.uuid), a_device("GPU-own", index=1)])
        services.hear(host=other, report=report, now=clock.now())

        gpu.refresh_from_db()
        assert (gpu.host_id, gpu.status) == (link.attempt.host_id, GPUStatus.RETIRED)
