"""Reads a store as a stranger does: the plain duckdb package and ``devtrack.duckdb``, no devtrack.

Run by tests as ``plain_reader.py VIEWS_FILE FRESH``: queries until stdin ends, then prints a JSON
line with the number of reads, what broke an invariant, and what failed. FRESH=1 opens the file
anew for each read, FRESH=0 leaves it open. Rows are ``llc`` with value = 0, 1, 2, … per attempt.
"""

import json
import sys
import threading
import time

import duckdb

QUERY = """
    SELECT attempt, count(*), count(DISTINCT value), max(value) + 1, count(*) FILTER (value IS NULL)
    FROM metrics_all GROUP BY attempt ORDER BY attempt
"""


def main() -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    report = {"reads": 0, "retries": 0, "broken": [], "failed": []}
    seen: dict[int, int] = {}
    connection, tries = None, 0
    while not ended.is_set():
        time.sleep(0.02)
        try:
            if connection is None:
                connection = duckdb.connect(sys.argv[1], read_only=True)
            rows = connection.execute(QUERY).fetchall()
        except duckdb.Error as error:
            # a query that takes longer than the writers' grace may lose a file under its hands
            tries += 1
            report["retries"] += 1
            if "No such file" not in str(error) or tries > 3:
                report["failed"].append(str(error))
            continue
        if sys.argv[2] == "1":
            connection.close()
            connection = None
        tries = 0
        report["reads"] += 1
        for attempt, count, distinct, upto, nulls in rows:
            if not (count == distinct == upto and nulls == 0 and count >= seen.get(attempt, 0)):
                report["broken"].append((attempt, count, distinct, upto, seen.get(attempt)))
            seen[attempt] = count
        report["broken"] += [f"{gone} left" for gone in seen.keys() - {row[0] for row in rows}]
    print(json.dumps({**report, "seen": sum(seen.values())}))


if __name__ == "__main__":
    main()
