from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from gaas.serving import serve


class Command(BaseCommand):
    """Serve agents' waits and, through a thread pool, everything else."""

    help = "Run the live process (ASGI): agents' waits, and all of Django behind them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8001)

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        self.stdout.write(f"live: http://{host}:{port}")
        serve(host=host, port=port)
