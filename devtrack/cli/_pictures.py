"""Pictures that commands write."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from devtrack.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_picture(path: Path) -> None:
    """Refuse a path that cannot become a picture, before the work is done.

    Raises:
        ConfigError: An unknown suffix or a missing folder.
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(
            f"out={str(path)!r}: must end in .png, .pdf or .svg. Try --out timeline.png."
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(
            f"out={str(path)!r}: the folder {path.absolute().parent} does not exist. Create it "
            "first, or choose another."
        )


def write_picture(figure: Figure, path: Path, *, dpi: int = 200) -> Path:
    """Write a figure in one go, so that a failure while drawing leaves no half of a file."""
    drawn = BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=dpi)
    path.write_bytes(drawn.getvalue())
    return path
