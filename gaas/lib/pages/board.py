"""Pages of several forms, each of which is for one verb."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from gaas.lib.errors import DomainError, NotFound

ROWS = 25


class VerbForm(forms.Form):
    """Ask for what a verb takes; `of` names the row that it is about, where a page has many."""

    verb = ""
    button = ""
    # Names that the verb has for a field, where the form has another.
    attrs: dict[str, str] = {}

    def __init__(self, *args: Any, of: Any = "", **kwargs: Any) -> None:
        self.of = str(of)
        super().__init__(*args, auto_id=f"{self.verb}{self.of}-%s", **kwargs)

    def refuse(self, refusal: DomainError) -> None:
        """Put a verb's refusal beside the field that it is about, or above all."""
        name = self.attrs.get(refusal.attr or "", refusal.attr)
        self.add_error(name if name in self.fields else None, refusal.detail)


class MovingForm(VerbForm):
    """Carry the key by which what moves hours or money moves it once, however often the form is sent."""

    key = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].initial = uuid.uuid4

    def refuse(self, refusal: DomainError) -> None:
        """Show it again for another try, which moves something else than what was refused."""
        super().refuse(refusal)
        self.data = self.data.copy()
        self.data["key"] = str(uuid.uuid4())


Kind = TypeVar("Kind", bound=VerbForm)


@method_decorator(never_cache, name="dispatch")
class Board(LoginRequiredMixin, TemplateView):
    """Show a page; what a form of `kinds` sends goes to the method `do_<verb>`, which makes the one call.

    A refusal shows the page again with the sentence and status of the DomainError, and what was typed.
    """

    kinds: tuple[type[VerbForm], ...] = ()
    sent: VerbForm | None = None

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        kind = next((kind for kind in self.kinds if kind.verb == request.POST.get("do")), None)
        if kind is None:
            raise BadRequest("the form names no verb of this page")
        form = self.sent = kind(request.POST, request.FILES, of=request.POST.get("of", ""))
        if not form.is_valid():
            return self.again(400)
        try:
            answer: HttpResponse = getattr(self, f"do_{kind.verb}")(form)
        except DomainError as refusal:
            form.refuse(refusal)
            return self.again(refusal.status, refusal.headers)
        return answer

    def again(self, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
        """Show the page with the form that was sent, the keyboard in the first field that is wrong."""
        wrong = next((name for name in self.sent.fields if name in self.sent.errors), None) if self.sent else None
        if self.sent and wrong:
            self.sent.fields[wrong].widget.attrs["autofocus"] = True
        return self.render_to_response(self.get_context_data(**self.kwargs), status=status, headers=headers)

    def form(self, kind: type[Kind], of: Any = "", **initial: Any) -> Kind:
        """Give an empty form, or the one that was refused."""
        if isinstance(self.sent, kind) and self.sent.of == str(of):
            return self.sent
        return kind(of=of, initial=initial)

    def row(self, form: VerbForm, rows: Any) -> Any:
        """Give the row that a form is about. Raises NotFound for one that is not among these any more."""
        try:
            return rows.get(pk=uuid.UUID(form.of))
        except (ValueError, rows.model.DoesNotExist) as gone:
            raise NotFound("This is gone by now. Look at what there is.") from gone

    def done(self, sentence: str, *, to: str = "") -> HttpResponse:
        """Say what happened and show the page anew, so that reloading it does nothing twice."""
        messages.success(self.request, sentence)
        return redirect(to or self.request.get_full_path())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sent=self.sent, **kwargs)


def page_of(rows: QuerySet, number: str | None) -> Page:
    """Give one page of rows; a number that is none leads to the nearest page there is."""
    return Paginator(rows, ROWS).get_page(number)


def after(rows: Any, last: str | None, size: int) -> tuple[list[Any], str]:
    """Give the next rows of an order by descending id, and where those after them begin; any nonsense is page one."""
    with suppress(ValueError):
        rows = rows.filter(pk__lt=uuid.UUID(last or ""))
    found = list(rows.order_by("-pk")[: size + 1])
    return found[:size], str(found[size - 1].pk) if len(found) > size else ""
