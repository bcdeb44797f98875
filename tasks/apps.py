from django.apps import AppConfig


class TasksConfig(AppConfig):
    name = "tasks"
    label = "tasks"
    verbose_name = "Tasks"

    def ready(self) -> None:
        from accounts.ledger import causes
        from accounts.pages import tabs
        from payments import subjects
        from tasks import checks, ledger_checks  # noqa: F401  register themselves
        from tasks.pages.subjects import named

        causes.register("task", page="tasks_task", kinds=("usage", "earning", "fee", "loss"))
        subjects.register("task", "A task", named)
        tabs.register("account_files", "Files")
