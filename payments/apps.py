from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    label = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from accounts.ledger import causes
        from accounts.services.budgets import register_gift
        from payments import checks, ledger_checks, providers, subjects  # noqa: F401  the first two register themselves
        from payments.pages import tabs
        from payments.pages.payout_words import paid_out
        from payments.pages.words import refunded, reserved
        from payments.services.contract_legs import ALLOWANCE, ALLOWANCE_BACK, LAPSE

        of_payments = ("topup", "debt_repaid", "suspense", "returned", "refund", "refund_failed")
        of_payments += ("dispute", "dispute_won")
        causes.register("payment", page="payments_payment", kinds=of_payments)
        causes.register("payout", page="payments_payout", kinds=("payout", "payout_fee", "payout_returned"))
        for word in ("refund", "dispute", "review", "charge", "contract"):
            causes.register(word, page=f"payments_{word}")

        register_gift(gives=[ALLOWANCE], takes=[ALLOWANCE_BACK, LAPSE])
        providers.set_up()
        tabs.register()
        subjects.register("refund", "A refund", refunded)
        subjects.register("contract", "A reservation", reserved)
        subjects.register("payout", "A payout", paid_out)
