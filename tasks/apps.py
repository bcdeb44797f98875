from django.apps import AppConfig


class TasksConfig(AppConfig):
    name = "tasks"
    label = "tasks"
    verbose_name = "Tasks"

    def ready(self) -> None:
        from tasks import ledger_checks  # noqa: F401  registers its invariants
