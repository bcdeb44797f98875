"""A Stripe-shaped peer: real HTTP on loopback, as much of the API as the platform uses, and honest about the rest.

It keeps what Stripe promises and tests rely on: an idempotency key gives the first answer again, and refuses another
body; amounts are whole cents; a refund never exceeds what came in; events are signed as Stripe signs them. What it
does not know is a 404. It can be told to be down, or to do what it is asked and lose the answer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SECRET = "whsec_of_tests"


class StripeError(Exception):
    def __init__(self, status: int, code: str, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "message": message}}


class StripePeer:
    """Hold the objects; `url` is where it listens."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.calls: list[tuple[str, str]] = []
        self.is_down = self.loses_answers = False
        self.closed_accounts: set[str] = set()
        self.account: str | None = "acct_platform"  # None: the key may not ask for it
        self.lock = threading.Lock()
        self._number = count(1)
        self.url = ""

    # -- what a payer, a bank or somebody at the dashboard does

    def pay(self, thing_id: str, cents: int | None = None, currency: str | None = None) -> dict[str, Any]:
        """Let the payer pay a Checkout page or an intent; give the intent."""
        thing = self.things[thing_id]
        if thing["object"] == "checkout.session":
            intent = self._intent(thing["amount_total"], "usd", thing["payment_intent_metadata"])
            thing |= {"payment_intent": intent["id"], "payment_status": "paid", "status": "complete"}
        else:
            intent = thing
        intent["amount_received"] = intent["amount"] if cents is None else cents
        intent |= {"status": "succeeded", "currency": currency or intent["currency"]}
        return intent

    def refund_in_dashboard(self, intent: str, cents: int) -> dict[str, Any]:
        return self._refund({"payment_intent": intent, "amount": str(cents)})

    def dispute(
        self, intent: str | None, cents: int, status: str = "needs_response", currency: str = "usd"
    ) -> dict[str, Any]:
        about = {"payment_intent": intent, "amount": cents, "currency": currency}
        return self._keep("dispute", "dp", **about, status=status, reason="fraudulent")

    def take_transfer_back(self, transfer: str, cents: int) -> dict[str, Any]:
        """Reverse a transfer in the dashboard, whole or in part."""
        self.things[transfer]["amount_reversed"] += cents
        return self.things[transfer]

    def forget_keys(self) -> None:
        """Let the day go by after which a key is worth nothing."""
        self.answers.clear()

    def event(self, kind: str, thing: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Make the event that tells of a thing as it is now."""
        made = {"id": f"evt_{next(self._number)}", "object": "event", "type": kind, "livemode": False}
        return {**made, "created": int(time.time()), "data": {"object": json.loads(json.dumps(thing))}, **fields}

    # -- the API

    def handle(self, method: str, path: str, form: dict[str, str], key: str) -> dict[str, Any]:
        self.calls.append((method, path))
        if self.is_down:
            raise StripeError(500, "", "Something went wrong on our end.", "api_error")
        with self.lock:
            if method == "GET" or not key:
                return self._route(method, path, form)
            print_of_body = hashlib.sha256(json.dumps([path, form], sort_keys=True).encode()).hexdigest()
            if key in self.answers:
                known, answer = self.answers[key]
                if known != print_of_body:
                    raise StripeError(400, "", "Keys for idempotent requests differ.", "idempotency_error")
                return answer
            answer = json.loads(json.dumps(self._route(method, path, form)))
            self.answers[key] = (print_of_body, answer)
            return answer

    def _route(self, method: str, path: str, form: dict[str, str]) -> dict[str, Any]:
        parts = path.strip("/").split("/")[1:]
        match method, *parts:
            case "GET", "account":
                if self.account is None:
                    raise StripeError(403, "", "The provided key does not have the required permissions.")
                return {"id": self.account, "object": "account"}
            case "POST", "payment_intents":
                return self._intent(int(form["amount"]), form["currency"], _nested(form, "metadata"))
            case "POST", "payment_intents", pk, "cancel":
                return self._end(pk, "requires_payment_method", "canceled")
            case "POST", "checkout", "sessions":
                return self._session(form)
            case "POST", "checkout", "sessions", pk, "expire":
                return self._end(pk, "open", "expired")
            case "POST", "refunds":
                return self._refund(form)
            case "POST", "transfers":
                return self._transfer(form)
            case "GET", ("payment_intents" | "refunds" | "transfers") as plural if "created[gte]" in form:
                made = [t for t in self.things.values() if t["object"] == plural[:-1]]
                return self._list(plural, [t for t in made if t["created"] >= int(form["created[gte]"])])
            case "GET", "transfers":
                mine = [t for t in self.things.values() if t["object"] == "transfer"]
                data = [t for t in mine if t["transfer_group"] == form["transfer_group"]]
                return {"object": "list", "data": data, "has_more": False, "url": "/v1/transfers"}
            case "GET", "refunds":
                data = [
                    thing
                    for thing in self.things.values()
                    if thing["object"] == "refund" and thing["payment_intent"] == form["payment_intent"]
                ]
                return {"object": "list", "data": data, "has_more": False, "url": "/v1/refunds"}
            case "GET", "checkout", "sessions", pk:
                found = dict(self._find(pk))
                if form.get("expand[0]") == "payment_intent" and found["payment_intent"]:
                    found["payment_intent"] = self._find(found["payment_intent"])
                return found
            case "GET", ("payment_intents" | "refunds" | "disputes" | "transfers"), pk:
                return self._find(pk)
        raise StripeError(404, "resource_missing", f"Unrecognized request URL ({method}: {path}).")

    def _list(self, plural: str, data: list[dict[str, Any]]) -> dict[str, Any]:
        return {"object": "list", "data": data, "has_more": False, "url": f"/v1/{plural}"}

    def _find(self, pk: str) -> dict[str, Any]:
        if pk not in self.things:
            raise StripeError(404, "resource_missing", f"No such object: {pk}")
        return self.things[pk]

    def _keep(self, kind: str, prefix: str, **fields: Any) -> dict[str, Any]:
        thing = {"id": f"{prefix}_{next(self._number)}", "object": kind, "created": int(time.time()), **fields}
        self.things[thing["id"]] = thing
        return thing

    def _intent(self, cents: int, currency: str, metadata: dict[str, str]) -> dict[str, Any]:
        return self._keep(
            "payment_intent",
            "pi",
            amount=cents,
            amount_received=0,
            currency=currency,
            status="requires_payment_method",
            metadata=metadata,
            client_secret="pi_secret",
        )

    def _session(self, form: dict[str, str]) -> dict[str, Any]:
        cents = int(form["line_items[0][price_data][unit_amount]"])
        return self._keep(
            "checkout.session",
            "cs_test",
            amount_total=cents,
            client_reference_id=form["client_reference_id"],
            metadata=_nested(form, "metadata"),
            payment_intent_metadata=_nested(form, "payment_intent_data[metadata]"),
            payment_intent=None,
            payment_status="unpaid",
            status="open",
            url="https://checkout.stripe.example/pay",
        )

    def _end(self, pk: str, wanted: str, new: str) -> dict[str, Any]:
        thing = self._find(pk)
        if thing["status"] != wanted:
            raise StripeError(400, "unexpected_state", f"This object is {thing['status']}.")
        thing["status"] = new
        return thing

    def _transfer(self, form: dict[str, str]) -> dict[str, Any]:
        if form["destination"] in self.closed_accounts:
            raise StripeError(400, "account_invalid", "This account cannot receive transfers.")
        return self._keep(
            "transfer",
            "tr",
            amount=int(form["amount"]),
            amount_reversed=0,
            currency=form["currency"],
            destination=form["destination"],
            transfer_group=form["transfer_group"],
            metadata=_nested(form, "metadata"),
        )

    def _refund(self, form: dict[str, str]) -> dict[str, Any]:
        intent = self._find(form["payment_intent"])
        sent = sum(
            thing["amount"]
            for thing in self.things.values()
            if thing["object"] == "refund" and thing["payment_intent"] == intent["id"] and thing["status"] != "failed"
        )
        cents = int(form["amount"])
        if sent + cents > intent["amount_received"]:
            raise StripeError(400, "charge_already_refunded", "Refund amount is greater than the charge.")
        return self._keep(
            "refund",
            "re",
            payment_intent=intent["id"],
            amount=cents,
            currency=intent["currency"],
            status="succeeded",
            metadata=_nested(form, "metadata"),
            failure_reason=None,
        )


def _nested(form: dict[str, str], name: str) -> dict[str, str]:
    return {key[len(name) + 1 : -1]: value for key, value in form.items() if key.startswith(f"{name}[")}


def signed(event: dict[str, Any], *, secret: str = SECRET, at: float | None = None) -> tuple[bytes, str]:
    """Give the body of an event and the header by which Stripe signs it."""
    body, moment = json.dumps(event).encode(), int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return body, f"t={moment},v1={digest}"


@contextmanager
def stripe_peer() -> Iterator[StripePeer]:
    """Serve a peer on a free loopback port."""
    peer = StripePeer()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            split = urlsplit(self.path)
            form = dict(parse_qsl(self.rfile.read(length).decode() or split.query))
            try:
                status, answer = (
                    200,
                    peer.handle(self.command, split.path, form, self.headers.get("Idempotency-Key") or ""),
                )
            except StripeError as error:
                status, answer = error.status, error.body
            if peer.loses_answers:
                self.close_connection = True
                self.connection.close()
                return
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
