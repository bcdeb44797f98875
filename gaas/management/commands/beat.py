from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand

from gaas import beat


class Command(BaseCommand):
    """Fire the periodic jobs; any number of these may run, one of them fires each slot."""

    help = "Fire the periodic jobs: the sweep, due letters, clean-up."

    def handle(self, *args: Any, **options: Any) -> None:

        def stop(*_: object) -> None:
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, stop)
        self.stdout.write(f"beat: {', '.join(f'{job.name} each {job.seconds:g} s' for job in beat.jobs())}")
        for job in beat.jobs():
            beat.fire(job)
        try:
            beat.Beat().run()
        except (KeyboardInterrupt, SystemExit):
            self.stdout.write("beat: stopped")
