"""Routes of this app, mounted under /api/v1/."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from payments.api import views

router = SimpleRouter()
router.register("payments", views.PaymentViewSet, basename="payment")

urlpatterns = router.urls
