import re

from django.core.management.base import BaseCommand, CommandError

from gaas.audit import services
from gaas.audit.chain import Link


class Command(BaseCommand):
    help = "Follow the chain of audit events and end with 1, naming the first broken one, if it does not hold."

    def add_arguments(self, parser):
        parser.add_argument(
            "--noted",
            action="append",
            default=[],
            metavar="NUMBER:DIGEST",
            help="An end that an earlier check printed and that was kept elsewhere; the chain has to lead through it.",
        )

    def handle(self, *args, **options):
        checked = services.check(noted=[_link(text) for text in options["noted"]])
        for problem in checked.problems:
            self.stdout.write(f"{self.style.ERROR('BROKEN')}  {problem}")
        self.stdout.write(f"The chain holds up to {checked.end}")
        if checked.waiting:
            self.stdout.write(f"{checked.waiting} events wait for their place in it.")
        if checked.problems:
            raise CommandError("The audit trail is broken.", returncode=1)


def _link(text: str) -> Link:
    if not re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", text):
        raise CommandError(f"{text!r} is no number and digest such as an earlier check printed.", returncode=2)
    seq, _, digest = text.partition(":")
    return Link(int(seq), digest)
