"""Pages of people's log-ins, under /accounts/, by the names that django-allauth looks for."""

from __future__ import annotations

from allauth.account import views as allauth
from django.urls import include, path

from accounts.pages import family, google, keys, log_ins, members, views, webhooks

urlpatterns = [
    path("", log_ins.Overview.as_view(), name="account_overview"),
    path("signup/", views.SignUp.as_view(), name="account_signup"),
    path("login/", views.LogIn.as_view(), name="account_login"),
    path("logout/", views.LogOut.as_view(), name="account_logout"),
    path("inactive/", allauth.account_inactive, name="account_inactive"),
    path("reauthenticate/", allauth.reauthenticate, name="account_reauthenticate"),
    path("verify-email/", views.VerifyEmail.as_view(), name="account_verify_email"),
    path("verify-email/letter/", views.AskVerification.as_view(), name="account_ask_verification"),
    path("verify-email/first/", views.VerifyFirst.as_view(), name="account_verify_email_first"),
    path("password/change/", views.ChangePassword.as_view(), name="account_change_password"),
    path("password/reset/", views.AskReset.as_view(), name="account_reset_password"),
    path("password/reset/confirm/", views.ConfirmReset.as_view(), name="account_confirm_reset"),
    path("sessions/", log_ins.LogIns.as_view(), name="account_log_ins"),
    path("connections/", log_ins.Connections.as_view(), name="socialaccount_connections"),
    path("google/", google.begin, name="account_google"),
    path("google/callback/", google.callback, name="account_google_callback"),
    path("all/", family.Accounts.as_view(), name="accounts"),
    path("keys/", keys.Keys.as_view(), name="account_keys"),
    path("join/", members.JoinAccount.as_view(), name="account_join"),
    path("<uuid:pk>/", family.OneAccount.as_view(), name="account"),
    path("<uuid:pk>/members/", members.Members.as_view(), name="account_members"),
    path("<uuid:pk>/children/", family.Children.as_view(), name="account_children"),
    path("<uuid:pk>/webhooks/", webhooks.Webhooks.as_view(), name="account_webhooks"),
    path("<uuid:pk>/webhooks/<uuid:webhook>/", webhooks.OneWebhook.as_view(), name="account_webhook"),
    path("2fa/", include("accounts.pages.second_factors")),
]
