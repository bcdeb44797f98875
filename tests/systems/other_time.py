"""A wall clock that jumps, for the processes that are told so; see other_time.c."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from tests.peers import Missing

SOURCE = Path(__file__).with_suffix(".c")


class OtherTime:
    """Be the wall clock of some processes; `environment` is what they are started with."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.jump(0)
        self.environment = {"LD_PRELOAD": str(library), "OTHER_TIME": str(file)}

    def jump(self, seconds: int) -> None:
        """Be so far ahead of the machine's clock from now on, or behind it."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


def build(folder: Path) -> Path:
    """Make the library that LD_PRELOAD takes. Raises Missing without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Missing("no C compiler on this machine")
    library = folder / "other_time.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Missing(f"{compiler}: {made.stderr.strip()[-300:]}")
    return library
