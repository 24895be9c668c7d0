"""How results reach the reader: a table, JSON or CSV on stdout; remarks on stderr."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

import typer

from devtrack.cli._printable import json_printable, printable

EXIT_ERROR, EXIT_NOTHING = 1, 3
_MOST_ON_TERMINAL = 200
_ROOMY = 100  # letters across a terminal


def log(message: str) -> None:
    """Write one line to stderr."""
    typer.echo("devtrack: " + printable(" ".join(message.split())), err=True)


def suggest(text: str) -> None:
    """Write what the reader may try next to stderr, as it is."""
    typer.echo(printable(text), err=True)


def not_found(message: str) -> typer.Exit:
    """Say that nothing was found, and return the exit to raise."""
    log(message)
    return typer.Exit(EXIT_NOTHING)


def require_one_format(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two formats at once as wrong usage."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv together: pass one of them.")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    as_json: bool = False,
    as_csv: bool = False,
    json_columns: frozenset[str] = frozenset(),
    no_wrap: frozenset[str] = frozenset(),
) -> int:
    """Write rows to stdout as a table, JSON or CSV, and return how many there were.

    On a terminal a table stops after 200 rows and says so; a pipe or a file gets all of them.

    Args:
        columns: Names of the columns.
        rows: The rows; JSON and CSV are written as they come.
        as_json: Write a JSON array of objects; a number that JSON lacks (NaN) becomes null.
        as_csv: Write CSV with a header; null is an empty field.
        json_columns: Columns that hold JSON text, to be nested in the JSON output.
        no_wrap: Text columns that are not folded on a narrow terminal; numbers never are.
    """
    if as_json:
        return _write_json(columns, rows, json_columns)
    if as_csv:
        return _write_csv(columns, rows)
    if _is_terminal():
        return _write_terminal(columns, rows, no_wrap)
    return _write_plain(columns, rows)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _write_json(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], json_columns: frozenset[str]
) -> int:
    count = 0
    for row in rows:
        line = {
            name: json.loads(cell) if name in json_columns and cell else _plain_json(cell)
            for name, cell in zip(columns, row, strict=True)
        }
        line_text = json_printable(json.dumps(line, ensure_ascii=False))
        typer.echo(("[" if count == 0 else ",\n ") + line_text, nl=False)
        count += 1
    typer.echo("]" if count else "[]")
    return count


def _plain_json(cell: Any) -> Any:
    match cell:
        case float():
            return cell if math.isfinite(cell) else None
        case None | bool() | int() | str():
            return cell
        case Decimal():
            return float(cell)
        case date():
            return cell.isoformat()
        case list() | tuple():
            return [_plain_json(item) for item in cell]
        case dict():
            return {str(key): _plain_json(item) for key, item in cell.items()}
        case _:
            return str(cell)


def _write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    shown = printable if _is_terminal() else str  # a file gets the text as it is stored
    writer.writerow(map(shown, columns))
    count = 0
    for row in rows:
        cells = map(_nested, row)
        writer.writerow([shown(cell) if isinstance(cell, str) else cell for cell in cells])
        count += 1
    return count


def _nested(cell: Any) -> Any:
    return json.dumps(_plain_json(cell)) if isinstance(cell, list | tuple | dict) else cell


def _write_plain(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Align columns with spaces: readable through a pipe, and `awk` and `grep` still work."""
    rows = list(rows)
    if not rows:
        return 0
    texts = [list(map(printable, columns)), *([text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [_numeric(column) for column in zip(*rows, strict=True)]
    for line in texts:
        cells = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())
    return len(rows)


def _write_terminal(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], no_wrap: frozenset[str]
) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = iter(rows)
    shown = list(islice(rows, _MOST_ON_TERMINAL))
    if not shown:
        return 0
    console = Console()
    gap = 2 if console.width >= _ROOMY else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold underline")
    for name, column in zip(columns, zip(*shown, strict=True), strict=True):
        numeric = _numeric(column)
        table.add_column(
            Text(printable(name)),
            justify="right" if numeric else "left",
            no_wrap=numeric or name in no_wrap,
            overflow="fold",
        )
    for row in shown:
        table.add_row(*(Text(text(cell)) for cell in row))
    console.print(table)
    more = sum(1 for _ in rows)
    if more:
        log(f"{more} more rows; --csv or --json prints all, LIMIT asks for fewer")
    return len(shown) + more


def _numeric(column: Iterable[Any]) -> bool:
    known = [cell for cell in column if cell is not None]
    return bool(known) and all(
        isinstance(cell, int | float | Decimal) and not isinstance(cell, bool) for cell in known
    )


def text(cell: Any) -> str:
    """Write one cell of a table on one line, numbers with six significant digits.

    Example:
        >>> [text(cell) for cell in (None, 3, 0.123456789, 1e-9, True, "a")]
        ['', '3', '0.123457', '1e-09', 'true', 'a']
    """
    match cell:
        case None:
            return ""
        case bool():
            return str(cell).lower()
        case float():
            return f"{cell:.6g}"
        case datetime():
            return cell.isoformat(sep=" ", timespec="seconds")
        case list() | tuple() | dict():
            return printable(json.dumps(_plain_json(cell), ensure_ascii=False))
        case _:
            return printable(" ".join(str(cell).split("\n")))
