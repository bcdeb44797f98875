"""Where a person is logged in, and by what they may log in."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from accounts.services import connections, log_ins, second_factor
from gaas.lib import clock
from gaas.lib.errors import DomainError


@method_decorator(never_cache, name="dispatch")
class Overview(LoginRequiredMixin, TemplateView):
    """Lead to everything about one's own log-in."""

    template_name = "accounts/overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            has_second_factor=second_factor.is_set(self.request.user),
            second_factor_is_missing=second_factor.is_missing(self.request.user),
            has_google=bool(settings.GOOGLE_CLIENT_ID),
            **kwargs,
        )


@method_decorator(never_cache, name="dispatch")
class LogIns(LoginRequiredMixin, TemplateView):
    """List the log-ins; end one, or all but this."""

    template_name = "accounts/sessions.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user, session = self.request.user, self.request.session
        found = log_ins.log_ins_of(user, now=clock.now(), session_key=session.session_key)
        return super().get_context_data(log_ins=found, has_others=any(not one.is_this for one in found), **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        now = clock.now()
        if request.POST.get("all") == "others":
            request.user.end_log_ins(now=now, but_session=request.session.session_key)
            messages.success(request, "All others are logged out.")
        else:
            try:
                log_ins.end(user=request.user, key=request.POST.get("key", ""), now=now)
                messages.success(request, "It is logged out.")
            except DomainError as refusal:
                messages.error(request, refusal.detail)
        return redirect("account_log_ins")


@method_decorator(never_cache, name="dispatch")
class Connections(LoginRequiredMixin, TemplateView):
    """List the accounts elsewhere by which one logs in; connect one, or cut it off."""

    template_name = "accounts/connections.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        connected = SocialAccount.objects.filter(user=user)
        return super().get_context_data(
            connected=connected,
            is_only_way=len(connected) == 1 and not user.has_usable_password(),
            has_google=bool(settings.GOOGLE_CLIENT_ID),
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            connections.disconnect(user=request.user, pk=request.POST.get("account", ""), now=clock.now())
            messages.success(request, "It is cut off.")
        except DomainError as refusal:
            messages.error(request, refusal.detail)
        return redirect("socialaccount_connections")
