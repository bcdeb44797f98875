"""POSTs that may be sent twice: the header Idempotency-Key."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, transaction
from django.http import QueryDict
from django.utils.crypto import salted_hmac
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError
from gaas.lib.rest.bodies import ReadsBody
from gaas.lib.rest.filters import StrictQuery
from gaas.lib.rest.idempotency import FIELD, HEADER
from gaas.lib.rest.serializers import FRAMEWORK
from gaas.lib.retry import retried
from gaas.outbox import services
from gaas.outbox.models import IdempotencyKey

# What stands in a header and may be part of a natural key.
_KEY = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_NOT_REPLAYED = frozenset({"content-type", "vary", "allow"})


class IdempotencyKeyMissing(DomainError):
    """Refuse a call that moves money and could not be sent again without moving it twice."""

    code = "idempotency_key_required"

    def __init__(self) -> None:
        super().__init__(
            "This call moves hours or money, so it needs a key of your own making by which it can be sent again "
            "safely. Send the header Idempotency-Key, such as a new UUID."
        )


class BadIdempotencyKey(DomainError):
    """Refuse a key that is no plain short text."""

    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__("An Idempotency-Key has 1 to 128 visible ASCII characters without blanks.")


class SecretShownOnce(Conflict):
    """Refuse to show a secret again."""

    code = "secret_shown_once"

    def __init__(self) -> None:
        super().__init__(
            "This call was done before, and its answer had a secret, which is shown once and not kept. "
            "Find what it made in the list, and rotate it for a new secret."
        )


class Idempotent(ReadsBody, StrictQuery):
    """Give a view's POSTs one effect and one answer for each Idempotency-Key of a caller.

    Stand first among the bases. With a key, the handler runs in one transaction, whose first lock is the key's
    row and whose last write is the answer; after a deadlock it runs again. Stored are answers and refusals that
    depend on state (409, no hours left): sent again, they stay as they were. Nothing is stored of refusals of
    the words themselves, of permission, throttles and faults. Callers that are no users have no keys: they are
    answered as without one.

    A handler finds the key in `idempotency_key`, to make the natural key of what it moves.
    """

    # Names of actions, or "post" in a view without them: those that are refused without a key, and those whose
    # answer has a secret, which is not stored (the same call again is refused by SecretShownOnce).
    key_required_for: Collection[str] = ()
    secret_answers_of: Collection[str] = ()
    takes_idempotency_key = True
    idempotency_key = ""

    @property
    def requires_idempotency_key(self) -> bool:
        return self._post_action in self.key_required_for

    @property
    def _post_action(self) -> str:
        return (getattr(self, "action_map", None) or {}).get("post", "post")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Do what stands before every handler; then, for a POST with a key, stand around the handler."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        handler = getattr(self, "post", None)
        is_user = getattr(request.user, "pk", None) is not None
        if request.method != "POST" or handler is None or not (is_user and self.takes_idempotency_key):
            return
        self.idempotency_key = _key_of(request)
        if self.idempotency_key:
            self.post = functools.wraps(handler)(functools.partial(self._answer_once, handler))
        elif self.requires_idempotency_key:
            raise IdempotencyKeyMissing

    def _answer_once(self, handler: Callable[..., Any], request: Request, *args: Any, **kwargs: Any) -> Response:
        claimed = services.claim(
            scope=f"user:{request.user.pk}",
            key=self.idempotency_key,
            method="POST",
            route=request.path_info[:500],
            body_hash=_hash_of(request),
            now=clock.now(),
        )
        if claimed.is_answered:
            return _replay(claimed)
        try:
            self.ahead(request, _Still(claimed), *args, **kwargs)
            return self._answer(claimed, functools.partial(handler, request, *args, **kwargs))
        except Exception:
            # Without a database to say so to, the lock runs out by itself.
            with suppress(DatabaseError):
                services.let_go(claimed)
            raise

    def ahead(self, request: Request, still: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        """Do what takes long and changes nothing, once the key is claimed and before its transaction.

        It calls `still` again and again, lest somebody takes the call for dead and the key over.
        """

    @retried
    def _answer(self, claimed: IdempotencyKey, act: Callable[[], Response]) -> Response:
        """Have the effect and store the answer, in one transaction."""
        services.begin(claimed)
        try:
            with transaction.atomic():
                answer = act()
        except DomainError as refusal:
            if not refusal.depends_on_state:
                raise
            answer = self.handle_exception(refusal)  # type: ignore[attr-defined]
        if not isinstance(answer, Response):
            raise TypeError(f"{type(self).__name__} answers with no Response: set takes_idempotency_key = False.")
        has_secret = self._post_action in self.secret_answers_of and answer.status_code < 300
        services.complete(
            claimed,
            status=answer.status_code,
            headers={name: value for name, value in answer.items() if name.lower() not in _NOT_REPLAYED},
            body=None if has_secret else _json(answer.data),
            now=clock.now(),
        )
        return answer


class _Still:
    """Hold a claimed key, by a write each quarter of its lock's time."""

    def __init__(self, claimed: IdempotencyKey) -> None:
        self._claimed, self._held_at = claimed, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._held_at >= settings.IDEMPOTENCY_LOCK_SECONDS / 4:
            services.hold(self._claimed, now=clock.now())
            self._held_at = time.monotonic()


def _replay(stored: IdempotencyKey) -> Response:
    """Answer as before: what was made of JSON by our own renderer is the same bytes when made anew."""
    if stored.is_secret:
        raise SecretShownOnce
    headers = {**stored.headers, "Idempotent-Replayed": "true"}
    return Response(json.loads(stored.body) if stored.body else None, status=stored.status, headers=headers)


def _key_of(request: Request) -> str:
    """Read the key from the header, else from the hidden field of a browsable form; "" without one."""
    key = request.headers.get(HEADER)
    if key is None:
        key = request.data.get(FIELD, "") if isinstance(request.data, Mapping) else ""
        if key == "":
            return ""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise BadIdempotencyKey
    return key


def _hash_of(request: Request) -> str:
    """Digest what is asked: the body as it was read, whatever the order of its keys, and the query.

    Keyed, since a body may have a password in it that a plain digest would let somebody guess at.
    """
    data = request.data
    if isinstance(data, QueryDict):
        data = {name: data.getlist(name) for name in data}
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in FRAMEWORK}
    text = json.dumps([data, sorted(request.query_params.lists())], sort_keys=True, default=_digest_of_file)
    return salted_hmac("gaas.idempotency", text, algorithm="sha256").hexdigest()


def _digest_of_file(value: Any) -> Any:
    if not isinstance(value, UploadedFile):
        raise TypeError(f"{type(value).__name__} is no value of a body")
    digest = hashlib.sha256()
    for chunk in value.chunks():
        digest.update(chunk)
    value.seek(0)
    return [value.name, digest.hexdigest()]


def _json(data: Any) -> str:
    return JSONRenderer().render(data).decode()
