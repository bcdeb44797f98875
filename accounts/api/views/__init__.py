from accounts.api.views.accounts import AccountViewSet
from accounts.api.views.api_keys import ApiKeyViewSet
from accounts.api.views.auth import (
    ChangePasswordView,
    GoogleView,
    LogInView,
    LogOutView,
    RefreshView,
    RegisterView,
    ResetConfirmView,
    ResetView,
    VerifyEmailView,
    VerifyView,
)
from accounts.api.views.me import MeView
from accounts.api.views.of_account import (
    AcceptInvitationView,
    CapViewSet,
    InvitationViewSet,
    InviteChildView,
    LinkView,
    LowMarkViewSet,
    MemberViewSet,
    RegistryViewSet,
    ThresholdViewSet,
)
from accounts.api.views.quota_requests import QuotaRequestViewSet
from accounts.api.views.users import UserViewSet
from accounts.api.views.webhooks import DeliveryViewSet, WebhookViewSet

__all__ = [
    "AcceptInvitationView",
    "AccountViewSet",
    "ApiKeyViewSet",
    "CapViewSet",
    "ChangePasswordView",
    "DeliveryViewSet",
    "GoogleView",
    "InvitationViewSet",
    "InviteChildView",
    "LinkView",
    "LogInView",
    "LogOutView",
    "LowMarkViewSet",
    "MeView",
    "MemberViewSet",
    "QuotaRequestViewSet",
    "RefreshView",
    "RegisterView",
    "RegistryViewSet",
    "ResetConfirmView",
    "ResetView",
    "ThresholdViewSet",
    "UserViewSet",
    "VerifyEmailView",
    "VerifyView",
    "WebhookViewSet",
]
