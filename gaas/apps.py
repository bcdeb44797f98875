from django.apps import AppConfig


class GaasConfig(AppConfig):
    name = "gaas"
    label = "gaas"
    verbose_name = "Platform"
