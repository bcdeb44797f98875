"""Who an agent is: `Authorization: Host <secret>`."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.db.models.functions import Now
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from gpus import credentials
from gpus.choices import REVOKED
from gpus.models import Host

SCHEME = "Host"
MAX_LENGTH = 200


class HostUser:
    """Stand in for `request.user` where a host calls: somebody, but nobody who may do what users do."""

    pk = None
    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    def __init__(self, host: Host) -> None:
        self.host = host

    def __str__(self) -> str:
        return f"host {self.host}"

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return False


class HostAuthentication(BaseAuthentication):
    """Find the host by the hash of its secret, in one query; `request.auth` is the Host.

    A revoked host is told so, by the hash that its secret had: its agent ends what it runs, and need not wonder
    whether somebody only rotated the secret.
    The secret before the last rotation is good for as long as whoever rotated it wanted.
    """

    def authenticate(self, request: Request) -> tuple[HostUser, Host] | None:
        scheme, _, secret = get_authorization_header(request).partition(b" ")
        if scheme.lower() != SCHEME.lower().encode():
            return None
        known = credentials.digest(secret.strip().decode("latin-1")) if len(secret) <= MAX_LENGTH else "-"
        in_overlap = Q(old_secret_hash=known, old_secret_until__gt=Now())
        host = Host.objects.speaking().filter(Q(secret_hash=known) | in_overlap).first()
        if host is None:
            if Host.objects.filter(revoked_hash=known).exists():
                raise exceptions.AuthenticationFailed(REVOKED, "host_revoked")
            raise exceptions.AuthenticationFailed(
                "This host secret is not valid (any more): join again with a new join token."
            )
        return HostUser(host), host

    def authenticate_header(self, request: Request) -> str:
        return SCHEME


class HostScheme(OpenApiAuthenticationExtension):
    """Describe the credential to readers of the schema."""

    target_class = "gpus.api.authentication.HostAuthentication"
    name = "hostSecret"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Host <secret>`, the secret that `join` gave to this host's agent.",
        }
