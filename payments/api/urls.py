"""Routes of this app, mounted under /api/v1/."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from payments.api import views
from payments.api.webhooks import StripeWebhookView

router = SimpleRouter()
router.register("payments", views.PaymentViewSet, basename="payment")

urlpatterns = [
    path("webhooks/stripe/", StripeWebhookView.as_view(), name="webhook-stripe"),
    path("", include(router.urls)),
]
