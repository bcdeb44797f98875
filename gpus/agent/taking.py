"""Taking files out of a folder that a program wrote: nothing but plain files, whatever it put there."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import names
from .client import OffsetWanted
from .protocol import MAX_FILE_BATCH_BYTES, LeftFile

if TYPE_CHECKING:
    from .attempt import Attempt
    from .client import Client

MAX_SCANNED = 200_000
MAX_HOLES_BYTES = 256 << 20
BLOCK_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Check = Callable[[], None]


class Changed(Exception):
    """State that a file was written while it was taken."""


@dataclass(frozen=True)
class Found:
    """A plain file by its name in the folder, and what tells whether it was written since."""

    name: str
    size: int
    stamp: tuple[int, int, int]


@dataclass
class Scan:
    """What may be taken, and why the rest may not."""

    files: list[Found] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, why: str, name: str) -> None:
        self.left_out.setdefault(why, []).append(name)

    def note(self) -> str:
        """Say in a few sentences what was left out; names are those of a program, so only some and in print."""
        said = []
        for why, found in self.left_out.items():
            shown = ", ".join(ascii(name)[1:-1][:80] for name in found[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            said.append(f"{shown}{more}: {why}.")
        return "Not kept: " + " ".join(said) if said else ""


def scan(
    folder: Path,
    *,
    most_files: int,
    most_bytes: int,
    wanted: Callable[[str], bool],
    check: Check,
    most_in_all: int = 0,
) -> Scan:
    """Find the plain files below a folder. Links are not followed, neither to files nor to folders.

    Nothing is read. Sizes are those that a reader would find, so that a file made of holes cannot have the host read
    and send what its program never wrote; `most_in_all` bounds them together, 0: no bound.
    """
    found, scanned, in_all = Scan(), 0, 0
    taken: set[str] = set()
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            fd = _open_folder(folder, inside)
        except OSError:
            found.leave_out("the folder cannot be read", inside)
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    scanned += 1
                    if scanned > MAX_SCANNED:
                        found.leave_out(f"there are more than {MAX_SCANNED} files and folders", "the rest")
                        return _sorted(found)
                    if scanned % 1000 == 0:
                        check()
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if not wanted(name):
                        continue
                    if (why := names.problem(name)) is not None:
                        found.leave_out(f"the name is not taken: {why}", name)
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif (why := _refusal(entry, fd, most_bytes)) is not None:
                        found.leave_out(why, name)
                    elif names.folded(name) in taken:
                        found.leave_out("it cannot be told from another on every system", name)
                    elif len(found.files) >= most_files:
                        found.leave_out(f"at most {most_files} files are kept", name)
                    elif most_in_all and in_all + entry.stat(follow_symlinks=False).st_size > most_in_all:
                        found.leave_out(f"together they are larger than {most_in_all >> 20} MiB", name)
                    else:
                        taken.add(names.folded(name))
                        about = entry.stat(follow_symlinks=False)
                        in_all += about.st_size
                        found.files.append(Found(name, about.st_size, _stamp(about)))
        except OSError:
            found.leave_out("the folder cannot be read", inside)
        finally:
            os.close(fd)
    return _sorted(found)


def _sorted(found: Scan) -> Scan:
    found.files.sort(key=lambda file: file.name)
    return found


def _refusal(entry: os.DirEntry, folder: int, most_bytes: int) -> str | None:
    about = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(about.st_mode):
        return "it is a link"
    if not stat.S_ISREG(about.st_mode):
        return "it is no plain file"
    if about.st_size > most_bytes:
        return f"it is larger than {most_bytes >> 20} MiB"
    if about.st_size - about.st_blocks * 512 > MAX_HOLES_BYTES and _has_many_holes(entry.name, folder, about.st_size):
        return f"more than {MAX_HOLES_BYTES >> 20} MiB of it were never written; pack it"
    return None


def _has_many_holes(name: str, folder: int, size: int) -> bool:
    """Tell a file made of holes from one that the file system packs, which takes less than its size too."""
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return False  # whoever opens it later says so
    holes = at = 0
    try:
        while at < size and holes <= MAX_HOLES_BYTES:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    return False
                data = size  # nothing but a hole up to its end
            holes += data - at
            at = size if data >= size else os.lseek(fd, data, os.SEEK_HOLE)
    except OSError:
        return False
    finally:
        os.close(fd)
    return holes > MAX_HOLES_BYTES


def _stamp(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def _open_folder(folder: Path, inside: str) -> int:
    """Go down part by part, so that no part of the way is a link."""
    fd = os.open(folder, _FOLDER)
    for part in inside.split("/") if inside else []:
        try:
            below = os.open(part, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


@contextmanager
def opened(folder: Path, found: Found) -> Iterator[int]:
    """Open a found file; raises Changed when there is another under its name by now."""
    inside, _, last = found.name.rpartition("/")
    try:
        parent = _open_folder(folder, inside)
        try:
            fd = os.open(last, _FILE, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise Changed(f"{found.name} is not there any more") from error
    try:
        if _stamp(os.fstat(fd)) != found.stamp:
            raise Changed(f"{found.name} was written meanwhile")
        yield fd
        if _stamp(os.fstat(fd)) != found.stamp:
            raise Changed(f"{found.name} was written meanwhile")
    finally:
        os.close(fd)


def digest(folder: Path, found: Found, check: Check) -> LeftFile:
    """Read a file once for its digest. Raises Changed."""
    total, offset = hashlib.sha256(), 0
    with opened(folder, found) as fd:
        while offset < found.size:
            block = os.pread(fd, min(BLOCK_BYTES, found.size - offset), offset)
            if not block:
                raise Changed(f"{found.name} became shorter")
            total.update(block)
            offset += len(block)
            check()
    return LeftFile(found.name, found.size, total.hexdigest())


def send(
    folder: Path, found: Found, named: LeftFile, kind: str, attempt: Attempt, client: Client, check: Check
) -> None:
    """Send a file until the server has it whole, from where an earlier try ended. Raises as Client does; Changed."""
    offset = 0
    with opened(folder, found) as fd:
        # A large one may be there in part already: an empty batch asks how much.
        batch = 0 if named.size > MAX_FILE_BATCH_BYTES else MAX_FILE_BATCH_BYTES
        while True:
            check()
            data = os.pread(fd, min(batch, named.size - offset), offset)
            try:
                offset, is_whole = client.send_file(attempt.id, attempt.epoch, kind, named, offset, data)
            except OffsetWanted as hole:
                offset, is_whole = hole.offset, False
            if is_whole:
                return
            batch = MAX_FILE_BATCH_BYTES
            if offset >= named.size and not data:
                raise Changed(f"{found.name} does not become whole")
