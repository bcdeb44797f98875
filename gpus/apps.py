from django.apps import AppConfig


class GpusConfig(AppConfig):
    name = "gpus"
    label = "gpus"
    verbose_name = "GPUs"
