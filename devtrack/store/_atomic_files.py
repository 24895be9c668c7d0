"""Files that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from devtrack.store._layout import TEMP_SUFFIX


def temporary_name(path: Path) -> Path:
    """Return a name beside ``path`` that no reader's glob matches and nobody else uses."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name; on return it survives a crash of the machine.

    Raises:
        OSError: It may be there or not; the same call with the same content can be repeated.
    """
    _fsync(temporary, os.O_RDWR)
    temporary.replace(path)
    fsync_dir(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write or replace a file so that a reader sees the old or the new, never a part."""
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        publish(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise


def read_small_file(path: Path, most: int) -> bytes:
    """Return the content of a plain file that somebody else may have put there.

    A link, a pipe or a device is no plain file; the latter would be read for ever.

    Raises:
        OSError: It cannot be read, is no plain file, or holds more than ``most`` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no plain file")
        if status.st_size > most:
            raise OSError(f"{path} holds {status.st_size} bytes, more than {most}")
        return file.read(most)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create a file whole, unless it is there already.

    A hard link has the exclusiveness of ``O_EXCL`` and, other than it, never shows a reader an
    empty file. File systems without links fall back to ``O_EXCL`` and one write.

    Returns:
        Whether this call created it; of many that race, one does.
    """
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        _fsync(temporary, os.O_RDWR)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            if not _create_with_o_excl(path, content):
                return False
        fsync_dir(path.parent)
        return True
    finally:
        remove_quietly(temporary)


def _create_with_o_excl(path: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return True


def fsync_dir(path: Path) -> None:
    """Make renames within a folder durable (Windows has no such call and needs none)."""
    if os.name != "nt":
        _fsync(path, os.O_RDONLY)


def make_dirs(path: Path) -> None:
    """Create a folder and its parents durably: a file in a lost folder is a lost file."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    path.mkdir(exist_ok=True)
    fsync_dir(path.parent)


def remove_quietly(path: Path) -> None:
    """Remove a file if that is possible; what stays behind is found by ``Store.check``."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
