"""Which path leads where."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.pages import views as log_in
from gaas import health, pages
from tasks.pages.urls import of_account

# The names that the browsable API links to.
browsable = [
    path("login/", log_in.old_log_in, name="login"),
    path("logout/", log_in.LogOut.as_view(), name="logout"),
]

urlpatterns = [
    path("", pages.landing, name="landing"),
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    # One way in for all: the admin and the browsable API have no log-in of their own.
    path("admin/login/", log_in.admin_log_in),
    path("admin/logout/", log_in.LogOut.as_view()),
    path("admin/", admin.site.urls),
    path("api-auth/", include((browsable, "rest_framework"))),
    path("accounts/", include("accounts.pages.urls")),
    path("accounts/", include("payments.pages.urls")),
    path("accounts/", include(of_account)),
    path("hosts/", include("gpus.pages.urls")),
    path("tasks/", include("tasks.pages.urls")),
    path("api/", include("gaas.api")),
]

handler400 = pages.bad_request
handler403 = pages.forbidden
handler404 = pages.not_found
handler500 = pages.broken
