"""Routes of this app, mounted under /api/v1/."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from payments.api import views
from payments.api.contracts import ContractViewSet
from payments.api.payouts import PayoutDestinationViewSet, PayoutViewSet
from payments.api.reports import UsageReportView
from payments.api.statements import StatementCSVView, StatementPDFView, StatementViewSet
from payments.api.webhooks import StripeWebhookView

router = SimpleRouter()
router.register("payments", views.PaymentViewSet, basename="payment")
router.register("statements", StatementViewSet, basename="statement")
router.register("payouts", PayoutViewSet, basename="payout")
router.register("payout-destinations", PayoutDestinationViewSet, basename="payout-destination")
router.register("contracts", ContractViewSet, basename="contract")

urlpatterns = [
    path("reports/usage/", UsageReportView.as_view(), name="report-usage"),
    path("statements/<uuid:pk>.csv", StatementCSVView.as_view(), name="statement-csv"),
    path("statements/<uuid:pk>.pdf", StatementPDFView.as_view(), name="statement-pdf"),
    path("webhooks/stripe/", StripeWebhookView.as_view(), name="webhook-stripe"),
    path("", include(router.urls)),
]
