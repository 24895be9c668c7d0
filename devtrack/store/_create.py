"""A new store, an old store, no store: what stands at a path before it is opened."""

from __future__ import annotations

import json
from pathlib import Path

from devtrack.errors import StoreError
from devtrack.store._atomic_files import make_dirs, write_atomically
from devtrack.store._layout import FORMAT_VERSION, STORE_FILE


def missing_store(root: Path) -> str:
    """Return what is wrong with a path that is no store, in three parts."""
    if not root.exists():
        seen = "does not exist"
    elif not root.is_dir():
        seen = "is a file"
    else:
        seen = f"has no {STORE_FILE}"
    near = [parent for parent in (root.parent, root / "runs") if (parent / STORE_FILE).is_file()]
    following = (
        f"Did you mean {near[0]}?" if near else "Pass the folder that Tracker(...) was given."
    )
    return f"{root}: {seen}; a store is a folder with {STORE_FILE}. {following}"


def create_store(root: Path) -> None:
    """Make a store in an empty or missing folder.

    Raises:
        StoreError: The place holds other files, or cannot be written.
    """
    try:
        if root.exists() and not _is_free(root):
            kind = "a folder with other files in it" if root.is_dir() else "a file"
            raise StoreError(
                f"{root}: is {kind}; a new store needs an empty or missing folder. "
                f"Choose another one, such as {root / 'runs' if root.is_dir() else 'runs'}."
            )
        make_dirs(root)
        content = json.dumps({"format": "devtrack", "format_version": FORMAT_VERSION}) + "\n"
        write_atomically(root / STORE_FILE, content.encode())
    except OSError as error:
        raise StoreError(
            f"{root}: cannot be created ({error}); a store needs a writable place. "
            "Choose another folder."
        ) from error


def _is_free(root: Path) -> bool:
    """Say whether a store may be made here; one that another process is just making is free."""
    if not root.is_dir():
        return False
    others = [path.name for path in root.iterdir() if not path.name.startswith(STORE_FILE)]
    return not others or (root / STORE_FILE).is_file()


def check_version(root: Path) -> None:
    """Refuse a store that a newer devtrack made.

    Raises:
        StoreError: Its format is newer, or unreadable.
    """
    path = root / STORE_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        version = int(content["format_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); it holds the store's format version. "
            f'Restore it: {{"format": "devtrack", "format_version": {FORMAT_VERSION}}}.'
        ) from error
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{root}: format_version {version}; this devtrack reads up to {FORMAT_VERSION}. "
            "Upgrade: pip install -U devtrack."
        )
