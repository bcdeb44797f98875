"""What a natural key promises: asked again, the same answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from accounts.ledger.models import Hold, Transfer
from gaas.lib.errors import DomainError

P = ParamSpec("P")
R = TypeVar("R")


def keyed(model: type[Hold | Transfer]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Before a refusal stands, look once more whether the key was stored meanwhile.

    Two calls with one key may both find nothing; the second then waits for the balance that the first
    takes, finds it spent, and must still answer with what the first stored.
    """

    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(verb)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return verb(*args, **kwargs)
            except DomainError:
                if not model.objects.filter(key=kwargs["key"]).exists():
                    raise
                return verb(*args, **kwargs)

        return run

    return decorate
