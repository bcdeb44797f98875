"""The refusals of the platform: a stable code, a sentence, the field, the HTTP status."""

from __future__ import annotations


class DomainError(Exception):
    """State a refusal that a caller can act on.

    `code` is stable and listed in docs/errors.md; `detail` is one sentence that also says what would
    make the call succeed; `attr` names the field of the request, dotted for nested ones. `depends_on_state`
    tells a refusal that the same words may escape later (no hours left) from one of the words themselves.
    """

    status = 400
    code = "invalid"
    depends_on_state = False

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        attr: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.attr = attr
        self.headers = headers or {}


class NotAllowed(DomainError):
    """Refuse a caller who may see the object but not do this with it."""

    status = 403
    code = "permission_denied"


class NotFound(DomainError):
    """Refuse without telling whether the object exists."""

    status = 404
    code = "not_found"


class Conflict(DomainError):
    """Refuse because the row is in a state in which the verb has no meaning."""

    status = 409
    code = "wrong_state"
    depends_on_state = True


class IllegalTransition(Conflict):
    """State that no arrow of TRANSITIONS leads from the stored state to the wanted one."""

    def __init__(self, detail: str, *, current: str, wanted: str) -> None:
        super().__init__(detail)
        self.current = current
        self.wanted = wanted
