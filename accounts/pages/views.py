"""Sign up, log in and out, confirm an address, set a password."""

from __future__ import annotations

from typing import Any

from allauth.account import views as allauth
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth import logout as django_logout
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.forms import Form, PasswordInput
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView, TemplateView

from accounts import services
from accounts.pages import next as next_page
from accounts.pages.forms import ChangeForm, EmailForm, KeyForm, ProveForm, ResetForm, SignUpForm
from accounts.services import passwords
from accounts.services.register import ask_verification
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.lib.ids import uuid7
from gaas.lib.rest.throttles import count_call

# What is said above the form to sign up, by REGISTRATION.
LEADS = {
    "open": "",
    "invite": "This platform takes whoever is invited: open the link of your invitation first.",
    "domains": "This platform takes addresses of its own domains, and whoever is invited.",
    "closed": "This platform takes no registrations. Ask its staff for an account.",
}


# Under which a browser's session keeps the invitation that waits for a confirmed address.
INVITATION = "invitation"
# And this whom it registered.
REGISTERED = "registered"


def join_path(invitation: str) -> str:
    """Write the path at which an invitation is accepted."""
    return f"{reverse('account_join')}?{urlencode({'token': invitation})}"


class Refusable:
    """Show a form again with the sentence, status and headers of the DomainError that its verb raised.

    Nothing typed is lost but passwords.
    """

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)  # type: ignore[misc]
        except DomainError as error:
            return self.refuse(error)

    def refuse(self: Any, error: DomainError) -> HttpResponse:
        kwargs = self.get_form_kwargs()
        data = kwargs.pop("data")
        form = self.get_form_class()(**{**kwargs, "files": None})
        for name, field in form.fields.items():
            if not isinstance(field.widget, PasswordInput):
                form.initial[name] = data.get(form.add_prefix(name), "")
        context = self.get_context_data(form=form, refusal=error.detail)
        response: HttpResponse = self.render_to_response(context, status=error.status)
        for name, value in error.headers.items():
            response[name] = value
        return response


@method_decorator(never_cache, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class Page(Refusable, FormView):
    """Show one form; `act` makes the one call to the verb.

    A `throttle_scope` is shared with the endpoint of the API that does the same.
    """

    throttle_scope = ""
    template_name = "accounts/form.html"
    title = ""
    lead = ""
    button = ""
    # Where else to go from the form: the name of a page, and words.
    other: tuple[str, str] | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        next_page.check(request)
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Form) -> HttpResponse:
        if self.throttle_scope:
            count_call(self.throttle_scope, meta=self.request.META)
        return self.act(form)

    def form_invalid(self, form: Form) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def act(self, form: Any) -> HttpResponse:
        """Do what the form asks for and say what happened."""
        raise NotImplementedError

    def say(self, title: str, lead: str, *, go_on: tuple[str, str] | None = None) -> HttpResponse:
        """Answer with a page that asks nothing more."""
        return render(self.request, "accounts/said.html", {"title": title, "lead": lead, "go_on": go_on})

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        words = {"title": self.title, "lead": self.lead, "button": self.button, "other": self.other}
        return super().get_context_data(**{**words, **kwargs})


class SignUp(Page):
    """Register; `invitation` is the token of a letter that invited to this platform."""

    form_class = SignUpForm
    throttle_scope = "register"
    template_name = "accounts/sign_up.html"
    title = "Sign up"
    button = "Sign up"

    def get_initial(self) -> dict[str, Any]:
        return {name: self.request.GET.get(name, "") for name in ("invitation", "email")}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            **{"lead": LEADS[settings.REGISTRATION], "has_google": bool(settings.GOOGLE_CLIENT_ID), **kwargs}
        )

    def act(self, form: Any) -> HttpResponse:
        made = services.register(**form.cleaned_data)
        # Kept either way, so that the answer tells nothing: who registers here confirms here by a press of a button.
        self.request.session[REGISTERED] = str(made.pk) if made else str(uuid7())
        ready = f"If {form.cleaned_data['email']} was free, its account is ready now."
        if invitation := form.cleaned_data["invitation"]:
            to = f"{reverse('account_login')}?{urlencode({REDIRECT_FIELD_NAME: join_path(invitation)})}"
            return self.say("Nearly there", f"{ready} Log in, and join.", go_on=(to, "Log in and join"))
        return self.say(
            "Look into your mail",
            f"{ready} A letter is on its way to it.",
            go_on=(reverse("account_login"), "Log in"),
        )


class VerifyEmail(Page):
    """Where the letter's link leads. Following it changes nothing, since mail scanners follow links too."""

    form_class = KeyForm
    throttle_scope = "register"
    title = "Confirm your address"
    lead = "Press the button to confirm that this address is yours."
    button = "Confirm"
    other = ("account_ask_verification", "Ask for a new letter")

    @cached_property
    def known(self) -> set[str]:
        """Give the ids of users whom this browser is known to belong to."""
        return {str(self.request.user.pk), self.request.session.get(REGISTERED, "")}

    def get_form_class(self) -> type[Form]:
        """Ask for a password where the letter is read by somebody who is not known to have registered."""
        try:
            owner = services.owner_of_key((self.request.POST or self.request.GET).get("key", ""))
        except DomainError:
            return KeyForm  # which is told so
        return KeyForm if owner.email_verified_at or str(owner.pk) in self.known else ProveForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        if isinstance(context["form"], ProveForm):
            context["lead"] = (
                "An account was made with this address. If you made it, give its password. If somebody else did, set a "
                "new one: the account is yours then, and their password, log-ins, keys and second factors are void."
            )
        return context

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.GET.get("key"):
            return redirect("account_ask_verification")
        return super().get(request, *args, **kwargs)

    def get_initial(self) -> dict[str, Any]:
        return {"key": self.request.GET.get("key", "")}

    def act(self, form: Any) -> HttpResponse:
        given = form.cleaned_data
        email = services.verify_email(known=self.known, request=self.request, now=clock.now(), **given)
        invitation = self.request.session.pop(INVITATION, "")
        go_on = (join_path(invitation), "On to the invitation") if invitation else (reverse("landing"), "Go on")
        return self.say("Confirmed", f"{email} is confirmed. Thank you.", go_on=go_on)


class AskVerification(Page):
    form_class = EmailForm
    throttle_scope = "reset"
    title = "Confirm your address"
    lead = "We send you a letter with a link. The one of your registration does too, for three days."
    button = "Send the letter"

    def get_initial(self) -> dict[str, Any]:
        return {"email": getattr(self.request.user, "email", "")}

    def act(self, form: Any) -> HttpResponse:
        ask_verification(now=clock.now(), **form.cleaned_data)
        return self.say(
            "Look into your mail",
            f"If {form.cleaned_data['email']} has an account that is not confirmed, a letter is on its way to it.",
        )


class VerifyFirst(AskVerification):
    """Where a log-in ends that needs a confirmed address."""

    title = "Confirm your address first"
    lead = "Your password is right, but this platform wants a confirmed address. Follow the link in our letter to you."


class AskReset(Page):
    form_class = EmailForm
    throttle_scope = "reset"
    title = "A new password"
    lead = "We send you a letter with a link by which you set it."
    button = "Send the letter"

    def get_initial(self) -> dict[str, Any]:
        return {"email": getattr(self.request.user, "email", "")}

    def act(self, form: Any) -> HttpResponse:
        passwords.ask_reset(now=clock.now(), **form.cleaned_data)
        return self.say(
            "Look into your mail",
            f"If {form.cleaned_data['email']} has an account, a letter is on its way to it. Its link is good for "
            f"{settings.PASSWORD_RESET_TIMEOUT // 60} minutes.",
        )


class ConfirmReset(Page):
    form_class = ResetForm
    throttle_scope = "reset"
    title = "Set a new password"
    lead = "All that is logged in by the old one is logged out then."
    button = "Set the password"
    other = ("account_reset_password", "Ask for a new letter")

    def get_initial(self) -> dict[str, Any]:
        return {name: self.request.GET.get(name, "") for name in ("uid", "token")}

    def act(self, form: Any) -> HttpResponse:
        passwords.confirm_reset(now=clock.now(), **form.cleaned_data)
        django_logout(self.request)
        return self.say("It is set", "Log in with your new password.", go_on=(reverse("account_login"), "Log in"))


class ChangePassword(LoginRequiredMixin, Page):
    form_class = ChangeForm
    title = "Change your password"
    lead = "You are logged out everywhere then, here too."
    button = "Change it"
    other = ("account_reset_password", "Forgotten it? Set a new one by mail")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Lead who has no password to the letter by which they get one."""
        if request.user.is_authenticated and not request.user.has_usable_password():
            return redirect("account_reset_password")
        return super().dispatch(request, *args, **kwargs)

    def act(self, form: Any) -> HttpResponse:
        passwords.change(user=self.request.user, request=self.request, now=clock.now(), **form.cleaned_data)
        django_logout(self.request)
        return self.say("It is changed", "Log in with your new password.", go_on=(reverse("account_login"), "Log in"))


class LogIn(Refusable, allauth.LoginView):
    """Log in; a second factor, if one is set, is asked for on a page of its own."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        next_page.check(request)
        return super().dispatch(request, *args, **kwargs)

    def form_invalid(self, form: Form) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            **{"has_google": bool(settings.GOOGLE_CLIENT_ID), "registration": settings.REGISTRATION, **kwargs}
        )


class LogOut(TemplateView):
    """Log out: here alone, or everywhere, which is what the button in the header of each page does."""

    template_name = "account/logout.html"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        next_page.check(request)
        if request.user.is_authenticated:
            if request.POST.get("only") != "here":
                request.user.end_log_ins(now=clock.now())
            django_logout(request)
            messages.success(request, "You are logged out.")
        return redirect(request.POST.get("next") or settings.LOGOUT_REDIRECT_URL)


def admin_log_in(request: HttpRequest) -> HttpResponse:
    """Lead whoever is not logged in to the one page for it; who is and may not see the admin is told so."""
    next_page.check(request)
    if request.user.is_authenticated:
        raise PermissionDenied
    to = request.GET.get(REDIRECT_FIELD_NAME) or reverse("admin:index")
    return redirect(f"{reverse('account_login')}?{urlencode({REDIRECT_FIELD_NAME: to})}")


def old_log_in(request: HttpRequest) -> HttpResponse:
    """Lead from the path that the browsable API links to."""
    next_page.check(request)
    query = request.GET.urlencode()
    return redirect(f"{reverse('account_login')}{'?' if query else ''}{query}")
