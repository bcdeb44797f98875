from __future__ import annotations

from django.db import models


class GPUSample(models.Model):
    """Keep what a GPU did in the `step` seconds from `at` on: means, of the memory the most.

    Written every few seconds for each GPU, so it carries no UUID and no moments of its own. `weight` counts the
    reports behind it. Fine steps become coarse ones with age (gpus/services/samples.py).
    """

    gpu = models.ForeignKey("gpus.GPU", on_delete=models.CASCADE, related_name="samples", editable=False)
    step = models.PositiveSmallIntegerField("seconds")
    at = models.DateTimeField()
    weight = models.PositiveIntegerField(default=1)
    utilisation = models.FloatField(null=True)
    memory_mib = models.FloatField(null=True)
    power_w = models.FloatField(null=True)
    temperature_c = models.FloatField(null=True)

    class Meta:
        verbose_name = "GPU sample"
        constraints = [models.UniqueConstraint(fields=["gpu", "at", "step"], name="gpu_sample_once")]
        indexes = [models.Index(fields=["step", "at"], name="gpu_sample_age")]

    def __str__(self) -> str:
        return f"{self.gpu_id} at {self.at:%Y-%m-%d %H:%M:%S}"
