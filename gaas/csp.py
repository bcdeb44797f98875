"""What a page may load and run: nothing from elsewhere, no script in its text. Sent with every answer."""

from __future__ import annotations

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

STRICT: dict[str, Any] = {
    "default-src": [SELF],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    # Logs stream from the live process, which may have an address of its own.
    "connect-src": [SELF, *([settings.LIVE_URL] if settings.LIVE_URL else [])],
    "object-src": [NONE],
    "base-uri": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# Styles stand in the tags of the browsable API's own templates, too.
_STYLES_INSIDE = {"style-src": [SELF, UNSAFE_INLINE]}
POLICIES: tuple[tuple[str, dict[str, Any]], ...] = (
    # unfold's menus are written in expressions that its library evaluates.
    ("/admin/", {**STRICT, **_STYLES_INSIDE, "script-src": [SELF, UNSAFE_EVAL]}),
    # ReDoc works in a blob; neither it nor Swagger may call another house (ReDoc's bundle asks for its maker's logo).
    ("/api/docs/", {**STRICT, **_STYLES_INSIDE, "worker-src": ["blob:"]}),
    ("/api/redoc/", {**STRICT, **_STYLES_INSIDE, "worker-src": ["blob:"]}),
    ("/api/", {**STRICT, **_STYLES_INSIDE}),
)


class PolicyMiddleware(CSPMiddleware):
    """Send the policy of the first prefix that fits the path, else the strict one."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None:
            path = request.path_info
            parts.config = next((policy for prefix, policy in POLICIES if path.startswith(prefix)), STRICT)
        return parts
