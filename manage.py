#!/usr/bin/env python
"""Run a management command of the platform."""

import os
import sys
from pathlib import Path

from gaas import home


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaas.settings")
    if sys.argv[1:2] and sys.argv[1] in home.VERBS:
        home.prepare(sys.argv[2:], Path(__file__).resolve().parent)
    try:
        from django.core.management import execute_from_command_line
    except ImportError as missing:
        raise SystemExit(
            f"{missing}. Install the requirements first: `make demo` makes a virtual environment and does so."
        ) from missing
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
