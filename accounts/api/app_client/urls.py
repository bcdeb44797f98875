"""Routes as allauth's apps write them, whose address of the server is then /api/v1/auth and whose client is `app`."""

from __future__ import annotations

from django.urls import path

from accounts.api.app_client import views

urlpatterns = [
    path("auth/login/", views.LogInView.as_view(), name="auth-app-login"),
    path("auth/session/", views.SessionView.as_view(), name="auth-app-session"),
    path("auth/2fa/authenticate/", views.CodeView.as_view(), name="auth-app-2fa"),
    path("auth/2fa/reauthenticate/", views.CodeAgainView.as_view(), name="auth-app-2fa-again"),
    path("auth/reauthenticate/", views.PasswordAgainView.as_view(), name="auth-app-again"),
    path("auth/webauthn/authenticate/", views.KeyView.as_view(), name="auth-app-webauthn"),
    path("auth/webauthn/reauthenticate/", views.KeyAgainView.as_view(), name="auth-app-webauthn-again"),
    path("account/authenticators/", views.AuthenticatorsView.as_view(), name="auth-app-authenticators"),
    path("account/authenticators/totp/", views.AppCodesView.as_view(), name="auth-app-totp"),
    path("account/authenticators/recovery-codes/", views.RecoveryCodesView.as_view(), name="auth-app-recovery-codes"),
    path("account/authenticators/webauthn/", views.KeysView.as_view(), name="auth-app-keys"),
    path("tokens/refresh/", views.RefreshView.as_view(), name="auth-app-refresh"),
]
