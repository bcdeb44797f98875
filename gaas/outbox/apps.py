from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "gaas.outbox"
    label = "outbox"
    verbose_name = "Outbox"

    def ready(self) -> None:
        from gaas.outbox import checks  # noqa: F401  registers them
