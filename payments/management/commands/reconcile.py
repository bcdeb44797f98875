from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError

from gaas.lib import clock
from payments.providers import ProviderUnreachable
from payments.services import reconcile


class Command(BaseCommand):
    help = "Compare what providers say moved with our rows; end with 1 where they differ. Run it after a restore."

    def add_arguments(self, parser):
        parser.add_argument("--days", type=int, default=30, help="How far back to compare.")

    def handle(self, *args, days, **options):
        now = clock.now()
        differ = 0
        compared = False
        try:
            for one in reconcile(since=now - timedelta(days=days), now=now):
                compared = True
                differ += len(one.differences)
                self.stdout.write(f"{one.provider}: {one.listed} movements in {days} days, {one.foreign} not ours.")
                for sentence in one.differences:
                    self.stdout.write(f"  {sentence}")
        except ProviderUnreachable as silence:
            raise CommandError(f"Nothing can be said: {silence}", returncode=2) from None
        if not compared:
            self.stdout.write("No provider that can list its movements is set up: compare bank statements by hand.")
        elif differ:
            raise CommandError(f"{differ} differences. docs/operator.md says what to do.", returncode=1)
        else:
            self.stdout.write("The books agree with what the providers say.")
