"""Where a page may lead afterwards: to a path of this server, written plainly."""

from __future__ import annotations

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def is_safe(url: str | None) -> bool:
    """Tell whether this is a path here; no host is allowed, this one's name neither."""
    return bool(url) and str(url).startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None)


def check(request: HttpRequest) -> None:
    """Raise BadRequest for a `next` that leads elsewhere: somebody made that link to deceive."""
    for url in (*request.GET.getlist("next"), *request.POST.getlist("next")):
        if url and not is_safe(url):
            raise BadRequest("next leads to another place")
