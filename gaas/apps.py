from django.apps import AppConfig
from django.db.models.signals import post_migrate


class GaasConfig(AppConfig):
    name = "gaas"
    label = "gaas"
    verbose_name = "Platform"

    def ready(self) -> None:
        from gaas import checks, groups  # noqa: F401  registers them

        # Connected after django.contrib.auth's own receiver, which makes the permissions.
        post_migrate.connect(groups.give, dispatch_uid="gaas.groups")
