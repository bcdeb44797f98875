"""allauth's pages of second factors, each change in one transaction with what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.mfa.base import views as base
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as keys
from django.http import HttpRequest, HttpResponseBase
from django.urls import path

from accounts.services import second_factor_changes
from gaas.lib import clock

View = Callable[..., HttpResponseBase]


class Index(base.IndexView):
    """Show one's second factors, and why one cannot be set up or taken off."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        is_last = second_factor_changes.is_last_kept(self.request.user)
        return {**super().get_context_data(**kwargs), "is_last_kept": is_last}


def changes(view: View, *, check: Callable[[Any], None] | None = None) -> View:
    """Wrap a view whose POST changes second factors; `check` raises what the caller is refused, GET or POST."""

    @wraps(view)
    def changing(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if check is not None:
            check(request.user)
        if request.method != "POST":
            return view(request, *args, **kwargs)
        with second_factor_changes.changing(user=request.user, now=clock.now()):
            return view(request, *args, **kwargs)

    return changing


def adds(view: View) -> View:
    return changes(view, check=second_factor_changes.check_may_add)


def takes_off(view: View) -> View:
    return changes(view, check=second_factor_changes.check_may_take_off)


urlpatterns = [
    path("", Index.as_view(), name="mfa_index"),
    path("authenticate/", base.authenticate, name="mfa_authenticate"),
    path("reauthenticate/", base.reauthenticate, name="mfa_reauthenticate"),
    path("totp/activate/", adds(totp.activate_totp), name="mfa_activate_totp"),
    path("totp/deactivate/", takes_off(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("recovery-codes/", codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("recovery-codes/generate/", changes(codes.generate_recovery_codes), name="mfa_generate_recovery_codes"),
    path("recovery-codes/download/", codes.download_recovery_codes, name="mfa_download_recovery_codes"),
    path("webauthn/", keys.list_webauthn, name="mfa_list_webauthn"),
    path("webauthn/add/", adds(keys.add_webauthn), name="mfa_add_webauthn"),
    path("webauthn/reauthenticate/", keys.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("webauthn/keys/<int:pk>/remove/", takes_off(keys.remove_webauthn), name="mfa_remove_webauthn"),
    path("webauthn/keys/<int:pk>/edit/", changes(keys.edit_webauthn), name="mfa_edit_webauthn"),
]
