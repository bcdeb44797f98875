"""Add a host to an account from the command line."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Account, User
from gaas.lib import clock
from gpus import services
from gpus.models import Host


class Command(BaseCommand):
    """Print the join token of a new host: the token alone on stdout, what to do with it on stderr."""

    help = "Add a host to somebody's personal account, or to --account, and print its join token."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="Who owns the host.")
        parser.add_argument("name", help="What the host is called.")
        parser.add_argument("--account", help="Id of an account that is to own it instead.")
        parser.add_argument("--region", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = User.objects.get_by_natural_key(options["email"])
            account = Account.objects.get(pk=options["account"]) if options["account"] else user.personal_account
            Host(account=account, name=options["name"].strip(), region=options["region"]).clean_fields()
        except (User.DoesNotExist, Account.DoesNotExist, ValidationError) as error:
            raise CommandError(str(error)) from error
        host, token = services.register_host(
            account=account, name=options["name"], by=user, region=options["region"], now=clock.now()
        )
        minutes = settings.JOIN_TOKEN_SECONDS / 60
        self.stderr.write(
            f"Host {host.pk} of {account} waits for its agent. Within {minutes:g} minutes, on that machine:"
        )
        self.stderr.write(f"GAAS_JOIN_TOKEN=<the token below> python -m gpus.agent run --server {settings.BASE_URL}")
        self.stdout.write(token)
