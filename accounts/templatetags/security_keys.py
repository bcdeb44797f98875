"""Say on a page whether a browser can ask for a security key there."""

from __future__ import annotations

from typing import Any

from django import template

from accounts.services import security_keys

register = template.Library()


@register.simple_tag(takes_context=True)
def keys_elsewhere(context: dict[str, Any]) -> dict[str, str] | None:
    """Give the address at which keys work and a sentence of it; None where this is it."""
    request = context["request"]
    if security_keys.is_here(request.get_host()):
        return None
    origin = security_keys.origin()
    return {"sentence": security_keys.where(), "address": f"{origin}{request.get_full_path()}" if origin else ""}
