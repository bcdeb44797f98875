from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "gaas.outbox"
    label = "outbox"
    verbose_name = "Outbox"
