"""Routes of this app, mounted under /api/v1/."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from accounts.api import views

router = SimpleRouter()
router.register("accounts", views.AccountViewSet, basename="account")
router.register("api-keys", views.ApiKeyViewSet, basename="api-key")
router.register("users", views.UserViewSet, basename="user")
router.register("webhooks", views.WebhookViewSet, basename="webhook")
router.register("quota-requests", views.QuotaRequestViewSet, basename="quota-request")

OF_ACCOUNT = "accounts/<uuid:account>"
LISTED = {"get": "list", "post": "create"}

urlpatterns = [
    path("auth/register/", views.RegisterView.as_view(), name="auth-register"),
    path("auth/token/", views.LogInView.as_view(), name="auth-token"),
    path("auth/token/refresh/", views.RefreshView.as_view(), name="auth-token-refresh"),
    path("auth/token/verify/", views.VerifyView.as_view(), name="auth-token-verify"),
    path("auth/email/verify/", views.VerifyEmailView.as_view(), name="auth-email-verify"),
    path("auth/password/reset/", views.ResetView.as_view(), name="auth-password-reset"),
    path("auth/password/reset/confirm/", views.ResetConfirmView.as_view(), name="auth-password-reset-confirm"),
    path("auth/password/change/", views.ChangePasswordView.as_view(), name="auth-password-change"),
    path("auth/google/", views.GoogleView.as_view(), name="auth-google"),
    path("auth/app/v1/", include("accounts.api.app_client.urls")),
    path("auth/logout/", views.LogOutView.as_view(), name="auth-logout"),
    path("users/me/", views.MeView.as_view(), name="users-me"),
    path("invitations/accept/", views.AcceptInvitationView.as_view(), name="invitations-accept"),
    path("invitations/link/", views.LinkView.as_view(), name="invitations-link"),
    path(
        f"{OF_ACCOUNT}/children/invite/", views.InviteChildView.as_view({"post": "create"}), name="account-invite-child"
    ),
    path(f"{OF_ACCOUNT}/members/", views.MemberViewSet.as_view(LISTED), name="members"),
    path(
        f"{OF_ACCOUNT}/members/<uuid:pk>/",
        views.MemberViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="member",
    ),
    path(f"{OF_ACCOUNT}/invitations/", views.InvitationViewSet.as_view({"get": "list"}), name="invitations"),
    path(
        f"{OF_ACCOUNT}/invitations/<uuid:pk>/",
        views.InvitationViewSet.as_view({"delete": "destroy"}),
        name="invitation",
    ),
    path(f"{OF_ACCOUNT}/caps/", views.CapViewSet.as_view(LISTED), name="caps"),
    path(f"{OF_ACCOUNT}/caps/<uuid:pk>/", views.CapViewSet.as_view({"delete": "destroy"}), name="cap"),
    path(f"{OF_ACCOUNT}/thresholds/", views.ThresholdViewSet.as_view(LISTED), name="thresholds"),
    path(
        f"{OF_ACCOUNT}/thresholds/<uuid:pk>/", views.ThresholdViewSet.as_view({"delete": "destroy"}), name="threshold"
    ),
    path(f"{OF_ACCOUNT}/low-marks/", views.LowMarkViewSet.as_view(LISTED), name="low-marks"),
    path(f"{OF_ACCOUNT}/registries/", views.RegistryViewSet.as_view(LISTED), name="registries"),
    path(f"{OF_ACCOUNT}/registries/<uuid:pk>/", views.RegistryViewSet.as_view({"delete": "destroy"}), name="registry"),
    path("webhooks/<uuid:webhook>/deliveries/", views.DeliveryViewSet.as_view({"get": "list"}), name="deliveries"),
    path(
        "webhooks/<uuid:webhook>/deliveries/<uuid:pk>/",
        views.DeliveryViewSet.as_view({"get": "retrieve"}),
        name="delivery",
    ),
    path(
        "webhooks/<uuid:webhook>/deliveries/<uuid:pk>/redeliver/",
        views.DeliveryViewSet.as_view({"post": "redeliver"}),
        name="delivery-redeliver",
    ),
    path("", include(router.urls)),
]
