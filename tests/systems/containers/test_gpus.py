"""Whether the GPUs that were asked for arrived in a container."""

from __future__ import annotations

import pytest

from gpus.agent.executors.container import check_gpus, limits
from gpus.agent.executors.engine import Engine
from gpus.agent.phase import Unprepared
from tests.systems.containers.engines import IMAGE, SMI_IMAGE, SMI_UUID


class TestGpus:
    def _asking(self, image: str) -> dict:
        request = {"Driver": "nvidia", "DeviceIDs": [SMI_UUID], "Capabilities": [["gpu"]]}
        host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}, "DeviceRequests": [request]}
        host["Ulimits"] = [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in limits().items()]
        return {"Image": image, "Entrypoint": ["nvidia-smi"], "Cmd": ["-L"], "HostConfig": host}

    def test_a_request_that_the_engine_leaves_aside_is_found_out(self, engine: Engine) -> None:
        with pytest.raises(Unprepared) as refused:
            check_gpus(engine, "gaas-check", self._asking(IMAGE), [SMI_UUID])
        assert (refused.value.fault, refused.value.code) == ("host", "gpu_missing")
        assert engine.inspect("gaas-check") is None

    def test_gpus_that_arrived_are_believed(self, engine: Engine) -> None:
        asking = self._asking(SMI_IMAGE)
        del asking["HostConfig"]["DeviceRequests"]
        check_gpus(engine, "gaas-check", asking, [SMI_UUID])
        with pytest.raises(Unprepared, match="1 of 2 GPUs did not arrive"):
            check_gpus(engine, "gaas-check", asking, [SMI_UUID, "GPU-of-somebody-else"])
