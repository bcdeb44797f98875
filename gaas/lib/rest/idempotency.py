"""How a key is sent by which a POST can be sent again. What it does stands in gaas.outbox.api."""

from __future__ import annotations

HEADER = "Idempotency-Key"
# Of the browsable API's forms, and of JSON bodies written by hand there.
FIELD = "_idempotency_key"
