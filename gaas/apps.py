from django.apps import AppConfig


class GaasConfig(AppConfig):
    name = "gaas"
    label = "gaas"
    verbose_name = "Platform"

    def ready(self) -> None:
        from gaas import checks  # noqa: F401  registers them
