from gpus.models.gpu import GPU
from gpus.models.host import Host

__all__ = ["GPU", "Host"]
