from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    label = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from payments import ledger_checks, providers  # noqa: F401  the first registers its invariant

        providers.set_up()
