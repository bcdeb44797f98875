from __future__ import annotations

import math

import pytest

from gaas.lib import clock
from gpus import services
from gpus.models import GPU
from gpus.samples import MAX_WARNINGS, believable
from gpus.tests.fleet import a_device, a_gpu, a_joined_host, a_sync


class TestBelievable:
    def test_it_keeps_what_can_be(self):
        sample = {"gpu": "G", "utilisation": 100, "memory_mib": 0, "power_w": 71.5, "temperature_c": 40}

        kept, warnings = believable([sample], {"G"})

        assert kept == {"G": {"utilisation": 100, "memory_mib": 0, "power_w": 71.5, "temperature_c": 40}}
        assert warnings == []

    @pytest.mark.parametrize(
        "value", [-1, 101, math.nan, math.inf, -math.inf, True, "40", [], {}, 10**400], ids=lambda v: str(v)[:9]
    )
    def test_it_drops_and_names_what_cannot_be(self, value):
        kept, warnings = believable([{"gpu": "G", "utilisation": value, "power_w": 70}], {"G"})

        assert kept == {"G": {"power_w": 70}}
        assert len(warnings) == 1
        assert "metrics[0].utilisation" in warnings[0]

    @pytest.mark.parametrize("sample", [None, 1, "G", [], {}, {"gpu": None}, {"gpu": ["G"]}, {"gpu": "other"}], ids=str)
    def test_it_drops_samples_of_nothing(self, sample):
        kept, warnings = believable([sample], {"G"})

        assert kept == {}
        assert "metrics[0]" in warnings[0]

    def test_it_passes_over_what_a_newer_agent_measures(self):
        assert believable([{"gpu": "G", "fan": 3}], {"G"}) == ({}, [])

    def test_it_does_not_go_on_for_ever(self):
        _, warnings = believable([None] * 10_000, {"G"})

        assert len(warnings) == MAX_WARNINGS
        assert warnings[-1] == "9981 more metrics were dropped."


@pytest.mark.django_db
class TestStored:
    def test_the_last_sample_stands_on_the_gpu(self, olga):
        host, _ = a_joined_host(olga.personal_account)
        devices = [a_device("GPU-1"), a_device("GPU-2", index=1)]
        services.hear(
            host=host,
            report=a_sync(1, gpus=devices, metrics=[{"gpu": "GPU-1", "utilisation": 12.5}]),
            now=clock.now(),
        )
        heard = services.hear(
            host=host,
            report=a_sync(2, gpus=devices, metrics=[{"gpu": "GPU-2", "power_w": -3}]),
            now=clock.now(),
        )

        assert GPU.objects.get(uuid="GPU-1").metrics["utilisation"] == 12.5
        assert GPU.objects.get(uuid="GPU-2").metrics == {}
        assert len(heard.warnings) == 1


@pytest.mark.django_db
class TestEndpoint:
    def test_the_owner_reads_it_others_do_not(self, api, olga, alice):
        gpu = a_gpu(olga.personal_account)
        GPU.objects.filter(pk=gpu.pk).update(metrics={"utilisation": 12.5, "at": "2026-01-01T00:00:00+00:00"})

        mine = api(olga).get(f"/api/v1/gpus/{gpu.pk}/metrics/")
        theirs = api(alice).get(f"/api/v1/gpus/{gpu.pk}/metrics/")

        assert mine.status_code == 200
        assert mine.data["utilisation"] == 12.5
        assert mine.data["power_w"] is None
        assert theirs.status_code == 403
