from accounts.api.views.accounts import AccountViewSet
from accounts.api.views.api_keys import ApiKeyViewSet
from accounts.api.views.auth import LogInView, LogOutView, RefreshView, RegisterView, VerifyEmailView, VerifyView
from accounts.api.views.me import MeView
from accounts.api.views.quota_requests import QuotaRequestViewSet

__all__ = [
    "AccountViewSet",
    "ApiKeyViewSet",
    "LogInView",
    "LogOutView",
    "MeView",
    "QuotaRequestViewSet",
    "RefreshView",
    "RegisterView",
    "VerifyEmailView",
    "VerifyView",
]
