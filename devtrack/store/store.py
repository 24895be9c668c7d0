"""Open a store, query it, write to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb

from devtrack.errors import ConfigError, StoreError
from devtrack.records import RunInfo
from devtrack.store import _overflow as spill
from devtrack.store._atomic_files import publish, remove_quietly, temporary_name
from devtrack.store._attempts import claim_attempt, join_attempt, next_seq
from devtrack.store._compaction import Compaction, compact_run
from devtrack.store._confinement import QueryLimits
from devtrack.store._create import check_version, create_store, missing_store
from devtrack.store._encoding import Author
from devtrack.store._export import check_export, export_query
from devtrack.store._flusher import FlushPolicy
from devtrack.store._health_check import Finding, check_store
from devtrack.store._layout import STORE_FILE
from devtrack.store._left_out import LeftOut
from devtrack.store._provenance import utc_now
from devtrack.store._quarantine import Restored, quarantine_damage, restore_whole
from devtrack.store._renewal import renew_files
from devtrack.store._runs import create_run, find_run, list_runs, write_run
from devtrack.store._segments import writer_connection
from devtrack.store._sql import is_vanished_file, may_be_damage, query_error, run_query
from devtrack.store._transition_table import Seen, write_analysis
from devtrack.store._views import list_files, reader_connection
from devtrack.store.writer import Writer

_T = TypeVar("_T")
_MAX_RETRIES = 20  # each may meet another compaction; damage needs two


def open_store(
    path: str | os.PathLike[str] = "runs",
    *,
    create: bool = False,
    renew: bool = True,
    limits: QueryLimits | None = None,
) -> Store:
    """Open a store for reading and writing; any number of processes may do so at once.

    Opening also renews ``devtrack.duckdb`` when it is missing, damaged, from another version, or
    the store was moved. A store that cannot be written is opened for reading.

    Args:
        path: The store's folder.
        create: Make the folder a store if it is empty or missing.
        renew: False leaves every file as it is, to look at a store that may be ill.
        limits: Time and rows that each query may take; ``QueryLimits()`` if None.

    Raises:
        StoreError: There is no store, or a newer devtrack made it.

    Example:
        >>> import tempfile
        >>> store = open_store(tempfile.mkdtemp(), create=True)
        >>> store.sql("SELECT count(*) FROM metrics").fetchall()
        [(0,)]
    """
    root = Path(path).expanduser().absolute()
    if not (root / STORE_FILE).is_file():
        if not create:
            raise StoreError(missing_store(root))
        create_store(root)
    check_version(root)
    return Store(root, renew=renew, limits=limits)


class Store:
    """A folder of runs with SQL over it. Use ``open_store``.

    Attributes:
        path: The folder, absolute.
        limits: Time and rows that each query may take.
    """

    def __init__(
        self, path: Path, *, renew: bool = True, limits: QueryLimits | None = None
    ) -> None:
        self.path = path
        self.limits = limits or QueryLimits()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opening = threading.Lock()
        self._left_out = LeftOut()
        if renew:
            renew_files(self.path)

    # -------------------------------------------------------------------- reading

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        max_rows: int | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Run SQL over the views of ``schema.sql``, also while training writes.

        Only statements that read are run. They reach the files of the store and no others. A
        damaged segment is moved to quarantine with a ``StoreWarning`` that names it, and the query
        runs again.

        Args:
            query: One or several statements; the last one's rows are returned.
            params: Values for ``?`` or ``$name`` in the query.
            timeout_s: Seconds that it may run; those of ``limits`` if None.
            max_rows: Rows that it may return; those of ``limits`` if None.

        Returns:
            The rows, in memory: ``.fetchall()``, ``.df()``, ``.show()``.

        Raises:
            QueryError: DuckDB refuses the query, it may write, or it reached a limit.
            ConfigError: A limit is not above 0.
            StoreError: A file cannot be read.
        """
        limits = self.limits.replaced(timeout_s=timeout_s, max_rows=max_rows)
        return self._reading(query, lambda connection: run_query(connection, query, params, limits))

    def runs(self) -> list[RunInfo]:
        """Return all runs by time of creation."""
        return list_runs(self.path)

    def run(self, ref: str | None = None) -> RunInfo:
        """Return one run.

        Args:
            ref: Run id, or a name that only one run has; None means the newest run.

        Raises:
            UnknownRunError: No run, or several, answer to it.
        """
        return find_run(self.runs(), ref, store=self.path)

    def export(
        self,
        target: str | os.PathLike[str],
        *,
        table: str | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
        max_rows: int | None = None,
    ) -> Path:
        """Write a view or a query's rows to a ``.parquet``, ``.csv`` or ``.json`` file.

        Args:
            target: Replaced if it exists, whole or not at all.
            table: Name of a view.
            query: Or a SELECT.
            timeout_s: Seconds that it may take; those of ``limits`` if None.
            max_rows: Rows that it may write; those of ``limits`` if None.

        Raises:
            ConfigError: What or where to export is unclear, or a limit is not above 0.
            QueryError: DuckDB refuses the query, it may write, or it reached a limit.
            StoreError: The target cannot be written.
        """
        path = Path(target).expanduser().absolute()
        source, options = check_export(path, table=table, query=query)
        limits = self.limits.replaced(timeout_s=timeout_s, max_rows=max_rows)
        temporary = temporary_name(path)

        def export(_: duckdb.DuckDBPyConnection) -> None:
            with reader_connection(self.path, target=temporary) as connection:
                export_query(connection, source, options=options, to=temporary, limits=limits)

        try:
            self._reading(source, export)
            publish(temporary, path)
        except OSError as error:
            raise StoreError(
                f"export: {path} cannot be written ({error}); a writable place with enough room "
                "is needed. Choose another target."
            ) from error
        finally:
            remove_quietly(temporary)
        return path

    def check(self) -> list[Finding]:
        """Look for everything that is not as it should be; changes nothing."""
        return check_store(self.path)

    # -------------------------------------------------------------------- writing

    def create_run(self, info: RunInfo) -> RunInfo:
        """Enter a new run into the store; where its id is taken, it gets another one.

        Returns:
            The run as it stands in the store: hand it to ``writer``.

        Raises:
            ConfigError: A run id that is no folder name.
            StoreError: The store cannot be written.
        """
        try:
            return create_run(self.path, info)
        except OSError as error:
            raise self._unwritable(error) from error

    def writer(
        self,
        info: RunInfo,
        *,
        keep_through_step: int | None = None,
        rank: int = 0,
        attempt: int | None = None,
        policy: FlushPolicy | None = None,
    ) -> Writer:
        """Start to write a run, new or resumed.

        Args:
            info: The run; its ``run.json`` is written if it has none.
            keep_through_step: For a resumed run, the checkpoint's step: rows that earlier
                attempts wrote after it leave every view but ``metrics_all``. None keeps all.
            rank: Rank 0 claims the run's next attempt; others join the one it claimed.
            attempt: For ranks above 0, rank 0's ``writer.attempt``.
            policy: When rows are written.

        Raises:
            ConfigError: A run id that is no folder name, or a rank without an attempt.
            StoreError: The store cannot be written.
        """
        if rank == 0 and attempt is not None:
            raise ConfigError(
                f"attempt={attempt}: rank 0 claims the next attempt itself; only ranks above 0 "
                "are given one. Leave attempt out."
            )
        try:
            run_dir = write_run(self.path, info)
            if rank == 0:
                attempt = claim_attempt(run_dir, keep_through_step=keep_through_step)
            attempt = (
                attempt if rank == 0 and attempt is not None else join_attempt(run_dir, attempt)
            )
            first_seq = next_seq(run_dir, attempt=attempt, rank=rank)
        except OSError as error:
            raise self._unwritable(error) from error
        author = Author(info.run_id, attempt, rank)
        return Writer(run_dir, author=author, first_seq=first_seq, policy=policy or FlushPolicy())

    def write_transitions(
        self,
        run_id: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        through_step: int | None = None,
        as_of: datetime | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> str:
        """Replace the run's previous analysis, also by one that found nothing.

        Args:
            run_id: An id, not a name.
            rows: Columns of the view ``transitions`` by name; missing ones are NULL.
            through_step: Largest step that the analysis saw; the run's last one if None.
            as_of: When it read the run, naive UTC; now if None.
            settings: What it was asked for: rate, axis, filters.

        Returns:
            The analysis id.

        Raises:
            ConfigError: A row has an unknown column.
            UnknownRunError: The store has no such run.
            StoreError: The store cannot be written.
        """
        run_id = self.run(run_id).run_id
        if through_step is None:
            last = self.sql("SELECT max(step) FROM metrics WHERE run_id = ?", [run_id]).fetchall()
            through_step = last[0][0]
        seen = Seen(through_step, as_of or utc_now(), settings)
        try:
            return write_analysis(self.path / run_id, rows, seen)
        except (OSError, duckdb.IOException) as error:
            raise self._unwritable(error) from error

    def compact(self, run: str | None = None, *, grace_s: float = 0.5) -> dict[str, Compaction]:
        """Merge each writer's segments into one per table, also while it writes.

        Args:
            run: A run id or name; all runs if None.
            grace_s: Wait so long before covered segments are removed, for readers that have
                just listed the folder.

        Returns:
            What was done, by run id.

        Raises:
            UnknownRunError: The store has no such run.
            StoreError: The store cannot be written.
        """
        infos = self.runs() if run is None else [self.run(run)]
        done: dict[str, Compaction] = {}
        with writer_connection() as connection:
            for info in infos:
                run_dir = self.path / info.run_id
                try:
                    done[info.run_id] = compact_run(connection, run_dir, grace_s=grace_s)
                except (OSError, duckdb.Error) as error:
                    if isinstance(error, OSError) or not quarantine_damage(self.path).damaged:
                        raise self._unwritable(error) from error
                    done[info.run_id] = compact_run(connection, run_dir, grace_s=grace_s)
        return done

    def adopt(self, folder: str | os.PathLike[str]) -> int:
        """Move in the segments that a writer had to spill, and return their number.

        Args:
            folder: The spill folder that the writer's warning named.

        Raises:
            StoreError: There is nothing to adopt, or the store cannot be written.
        """
        source = Path(folder).expanduser().absolute()
        if not spill.spilled_segments(source):
            raise StoreError(
                f"{source}: holds no spilled segments; a spill folder is called "
                "devtrack-spill-<run id>-<store>. Pass the one that the warning named."
            )
        try:
            return spill.adopt(self.path, source)
        except OSError as error:
            raise self._unwritable(error) from error

    def restore(self) -> Restored:
        """Move segments in quarantine that are whole back to where they were.

        Raises:
            StoreError: The store cannot be written.
        """
        return restore_whole(self.path)

    # -------------------------------------------------------------------- within

    def close(self) -> None:
        """Let go of the memory, except of results in use; the store opens again when it is used."""
        with self._opening:
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reading(self, query: str, read: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        error: duckdb.Error | None = None
        num_waits = 0
        for _ in range(_MAX_RETRIES):
            try:
                return read(self._cursor())
            except duckdb.Error as caught:
                error = caught
            if not may_be_damage(error, self.path):
                raise query_error(query, error) from error
            if is_vanished_file(error):
                continue
            self.close()  # an internal error leaves a DuckDB unusable
            faults = quarantine_damage(self.path)
            renew_files(self.path)
            if faults.unreadable:
                self._left_out.wait_or_add(faults.unreadable, num_waits=num_waits)
                num_waits += 1
            elif not faults.damaged and not isinstance(error, duckdb.IOException):
                raise query_error(query, error) from error
        raise StoreError(
            f"{self.path}: the query failed {_MAX_RETRIES} times "
            f"({' '.join(str(error).split())}); every segment by itself can be read. "
            "Run `devtrack doctor`, or try again."
        ) from error

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own, so that threads do not share one."""
        with self._opening:
            if self._connection is None:
                left_out = self._left_out.paths()
                self._connection = reader_connection(self.path, left_out=left_out)
            cursor = self._connection.cursor()
        list_files(cursor, self.path, left_out=self._left_out.paths())
        return cursor

    def _unwritable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self.path}: cannot be written ({' '.join(str(error).split())}); a writer needs a "
            "folder it may write with room on the disk. Change its permissions, free space, or "
            "choose another store."
        )
