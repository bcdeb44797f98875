from django.core.management.base import BaseCommand, CommandError

from accounts.ledger import check
from accounts.ledger.choices import CheckSource
from accounts.ledger.services.check_runs import CheckUnderWay, begin_check, run_check
from gaas.lib import clock


class Command(BaseCommand):
    help = "Check every invariant of the books, keep what was found, and end with 1 if one is broken."

    def add_arguments(self, parser):
        parser.add_argument(
            "--unrecorded",
            action="store_true",
            help="Write nothing: for a copy, or a role that may only read.",
        )

    def handle(self, *args, unrecorded=False, **options):
        results = check.run() if unrecorded else self._recorded()
        for result in results:
            state = self.style.ERROR("BROKEN") if result.problems else self.style.SUCCESS("ok")
            self.stdout.write(f"{result.number:>3}  {state}  {result.title} ({result.seconds:.1f} s)")
            for problem in result.problems:
                self.stdout.write(f"       {problem}")
        broken = [str(result.number) for result in results if result.problems]
        if broken:
            raise CommandError(f"Broken: {', '.join(broken)}.", returncode=1)
        self.stdout.write(f"All {len(results)} invariants hold.")

    @staticmethod
    def _recorded():
        try:
            run = begin_check(source=CheckSource.COMMAND, now=clock.now())
        except CheckUnderWay as refusal:
            raise CommandError(refusal.detail, returncode=2) from None
        return run_check(run_id=run.pk, now=clock.now())
