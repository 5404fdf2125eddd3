"""Growth of the Prefect server's database, by table, on SQLite or PostgreSQL.

    python -m benchmarks.growth
    python -m benchmarks.growth --postgres

Generates small datasets one after another, then datasets with many batches of four and of eight
columns, then one batch that calls its model for two minutes, and reads the number of rows and bytes
of every table before and after.
All three run their batches in the process of the dataset's run. For batches on workers, see
`benchmarks.server_cost`.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.machines import config_of
from benchmarks.postgres import Postgres
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.server import BenchServer

_SETTLED_SECONDS = 12.0
"""Time without a change after which everything is recorded; the server flushes after 5 s."""
_LONGEST_WAIT = 300.0
_SEQUENTIAL = """
import asyncio, sys
import dd_core.config as dd
from flows import generate_dataset
config, path, name, datasets, rows, size = sys.argv[1:7]
seed = sum(name.encode())  # otherwise a later run would reuse cached columns
for number in range(int(datasets)):
    asyncio.run(generate_dataset(
        config, num_records=int(rows), dataset_name=f"{name}-{number}", artifact_path=path,
        run_config=dd.RunConfig(
            seed=1000 * seed + number, buffer_size=int(size), max_concurrent_row_groups=3
        ),
    ))
"""


class Table(NamedTuple):
    """Rows of a table, and its bytes including indexes."""

    rows: int
    size: int


Tables = dict[str, Table]


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="use PostgreSQL instead of SQLite")
    parser.add_argument("--datasets", type=int, default=20, help="small datasets")
    parser.add_argument("--batches", type=int, default=100, help="batches of the large dataset")
    parser.add_argument("--port", type=int, default=4600)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(Path(folder), given.port + 1 if given.postgres else None) as database,
        BenchServer(latency=0.0) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        prefect.environment["PREFECT_LOGGING_LEVEL"] = "INFO"  # the default
        measured = Measured(prefect, database, model)
        measured.run("warm", datasets=1, rows=8, columns=2)
        small = measured.run("small", datasets=given.datasets, rows=16, columns=4)
        print_table("one dataset of two batches and four columns", small, given.datasets)
        rows = 8 * given.batches
        large = measured.run("large", datasets=1, rows=rows, columns=4)
        print_table("one batch of a large dataset, four columns", large, given.batches)
        wide = measured.run("wide", datasets=1, rows=rows, columns=8)
        print_table("each further column", _subtract(wide, large), 4 * given.batches)
        model.settings(latency=3.0)
        # 64 requests at a time: four columns of 640 rows take 40 times the latency.
        busy = measured.run("busy", datasets=1, rows=640, columns=4, size=640)
        print_table("one batch of four columns that takes two minutes", busy, 1)
        print("artifacts, by type and key:", *describe_artifacts(database), sep="\n  ")


class Measured:
    """Generates datasets, and reads what they added to the database."""

    def __init__(self, prefect: PrefectProcesses, database: Database, model: BenchServer) -> None:
        self._prefect = prefect
        self._database = database
        self._model = model

    def run(self, name: str, *, datasets: int, rows: int, columns: int, size: int = 8) -> Tables:
        """Generate datasets one after another; returns what they added."""
        before = self._database.settled()
        config = self._prefect.folder / f"{name}.json"
        config.write_text(config_of(self._model.url, columns).model_dump_json())
        arguments = [config, self._prefect.folder / "datasets", name, datasets, rows, size]
        with (self._prefect.folder / f"{name}.log").open("wb") as log:
            subprocess.run(
                [sys.executable, "-c", _SEQUENTIAL, *map(str, arguments)],
                env=self._prefect.environment,
                check=True,
                stderr=log,
            )
        return _subtract(self._database.settled(), before)


class Database:
    """The tables of an SQLite file or a PostgreSQL server."""

    def __init__(self, folder: Path, postgres: Postgres | None) -> None:
        self._folder = folder
        self.postgres = postgres

    def settled(self) -> Tables:
        """The tables once nothing has been added to them for some time."""
        until = time.monotonic() + _LONGEST_WAIT
        found, since = self.tables(), time.monotonic()
        while time.monotonic() - since < _SETTLED_SECONDS and time.monotonic() < until:
            time.sleep(1)
            now = self.tables()
            if {name: each.rows for name, each in now.items()} != {
                name: each.rows for name, each in found.items()
            }:
                since = time.monotonic()
            found = now
        return found

    def tables(self) -> Tables:
        """Rows and bytes of every table."""
        sizes = self._postgres_sizes() if self.postgres else self._sqlite_sizes()
        names = [*sizes]
        counts = self.rows(" union all ".join(f"select count(*) from {name}" for name in names))
        return {
            name: Table(int(count), sizes[name])
            for name, (count,) in zip(names, counts, strict=True)
        }

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The result of a query."""
        if self.postgres is not None:
            return self.postgres.rows(query)
        path = next((self._folder / "prefect").glob("*.db"))
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def _postgres_sizes(self) -> dict[str, int]:
        query = "select relname, pg_total_relation_size(relid) from pg_stat_user_tables"
        return {str(name): int(str(size)) for name, size in self.rows(query)}

    def _sqlite_sizes(self) -> dict[str, int]:
        """Pages of a table and its indexes, which SQLite lists as separate trees."""
        query = (
            "select tbl_name, sum(pgsize) from dbstat join sqlite_master using (name) "
            "group by tbl_name"
        )
        return {str(name): int(str(size)) for name, size in self.rows(query)}


@contextmanager
def open_database(folder: Path, postgres_port: int | None) -> Iterator[Database]:
    """The database of a Prefect server that is started in this context, in this folder."""
    if postgres_port is None:
        yield Database(folder, None)
        return
    folder.chmod(0o755)  # PostgreSQL runs as another user
    with Postgres(folder / "postgres", postgres_port) as postgres:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = postgres.url
        yield Database(folder, postgres)


def _subtract(after: Tables, before: Tables) -> Tables:
    nothing = Table(0, 0)
    pairs = {name: (each, before.get(name, nothing)) for name, each in after.items()}
    return {
        name: Table(now.rows - then.rows, now.size - then.size)
        for name, (now, then) in pairs.items()
    }


def print_table(title: str, tables: Tables, units: int) -> None:
    """Print rows and kilobytes per unit."""
    print(f"\n{title}:")
    total = sum(each.size for each in tables.values())
    for name, (rows, size) in sorted(tables.items(), key=lambda item: -item[1].size):
        if rows or size:
            kilobytes, share = size / units / 1000, size / total if total else 0.0
            print(f"  {name:24} {rows / units:9.1f} rows {kilobytes:9.1f} kB {share:4.0%}")
    print(f"  {'total':24} {'':14} {total / units / 1000:9.1f} kB", flush=True)


def describe_artifacts(database: Database) -> list[str]:
    """Number and length of the artifacts, by type and by whether they have a key."""
    counts: Counter[str] = Counter()
    lengths: Counter[str] = Counter()
    for kind, key, text in database.rows("select type, key, cast(data as text) from artifact"):
        name = f"{kind or 'state result'}, {'with' if key else 'without'} key"
        counts[name] += 1
        lengths[name] += len(json.dumps(text))
    return [f"{name}: {n}, {lengths[name] / n:.0f} characters each" for name, n in counts.items()]


if __name__ == "__main__":
    main()
