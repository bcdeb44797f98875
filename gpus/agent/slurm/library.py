"""A copy of this package, and of what asks NVML, in the shared folder: a node needs nothing but a Python."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pynvml

from .. import durable

PACKAGE = Path(__file__).resolve().parents[1]
AT = Path("gpus/agent")


def lay_out(root: Path) -> Path:
    """Copy the package under a name that follows from its content; returns what goes into PYTHONPATH."""
    files = {AT / path.relative_to(PACKAGE): path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))}
    files[Path("pynvml.py")] = Path(pynvml.__file__).read_bytes()
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    library = root / "lib" / digest.hexdigest()[:16]
    if library.is_dir():
        return library
    part = library.with_name(f".{library.name}.{os.getpid()}.part")
    durable.erase(part)
    for name, content in files.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (part / "gpus" / "__init__.py").write_bytes(b"")
    try:
        os.rename(part, library)
    except OSError:  # another agent of this account was quicker
        durable.erase(part)
    return library
