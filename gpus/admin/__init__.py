from gpus.admin.gpus import GPUAdmin
from gpus.admin.hosts import HostAdmin

__all__ = ["GPUAdmin", "HostAdmin"]
