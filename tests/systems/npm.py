"""Servers for tests that npm brings: into build/, once, at an exact version."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.peers import Missing

ROOT = Path(__file__).resolve().parents[2]


def program(name: str, package: str, *, folder: str) -> str:
    """Find a program: named by its variable (as ANVIL), in PATH, or what npm put into build/. Raises Missing."""
    if found := os.environ.get(name.upper().replace("-", "_")) or shutil.which(name):
        return found
    there = ROOT / "build" / folder
    wanted = there / "node_modules/.bin" / name
    if not wanted.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise Missing(f"no {name} and no npm to install it with")
        there.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", package]
        done = subprocess.run(command, cwd=there, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode or not wanted.exists():
            raise Missing(f"npm cannot install {name}: {(done.stderr or done.stdout)[-200:]}")
    return str(wanted)
