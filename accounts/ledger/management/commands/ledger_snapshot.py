from django.core.management.base import BaseCommand

from accounts.ledger.services import take_snapshot


class Command(BaseCommand):
    help = "Snapshot the platform's balances and seal the transfers so far; run it nightly."

    def handle(self, *args, **options):
        seal = take_snapshot()
        if seal is None:
            self.stdout.write("Nothing new is settled since the last snapshot.")
        else:
            self.stdout.write(f"Sealed {seal.count} transfers created before {seal.before}.")
