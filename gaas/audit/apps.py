from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "gaas.audit"
    label = "audit"
    verbose_name = "Audit"
