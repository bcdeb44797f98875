from gpus.models.gpu import GPU
from gpus.models.host import Host
from gpus.models.host_day import HostDay
from gpus.models.sample import GPUSample

__all__ = ["GPU", "GPUSample", "Host", "HostDay"]
