from django.core.management.base import BaseCommand, CommandError

from accounts.ledger import check


class Command(BaseCommand):
    help = "Check every invariant of the books and end with 1 if one is broken."

    def handle(self, *args, **options):
        results = check.run()
        for result in results:
            state = self.style.ERROR("BROKEN") if result.problems else self.style.SUCCESS("ok")
            self.stdout.write(f"{result.number:>3}  {state}  {result.title}")
            for problem in result.problems:
                self.stdout.write(f"       {problem}")
        broken = [str(result.number) for result in results if result.problems]
        if broken:
            raise CommandError(f"Broken: {', '.join(broken)}.", returncode=1)
        self.stdout.write(f"All {len(results)} invariants hold.")
