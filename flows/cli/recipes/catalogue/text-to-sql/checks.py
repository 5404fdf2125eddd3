"""Executes queries on the tables of tables.sql."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import dd_core.config as dd

TABLES = Path(__file__).with_name("tables.sql").read_text()
SECONDS = 2.0
ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


def _allow(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY


def find_error(query: str) -> str:
    """The error of a query, or an empty string."""
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(TABLES)
        database.set_authorizer(_allow)
        deadline = time.monotonic() + SECONDS
        database.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
        rows = database.execute(query).fetchmany(1)
        return "" if rows else "the query returns no rows"
    except (sqlite3.Error, sqlite3.Warning) as error:
        return str(error)
    finally:
        database.close()


@dd.validation_function
def execute(df: Any) -> Any:
    """Execute the queries; a query is valid if it returns at least one row."""
    errors = [find_error(query) for query in df["query"]]
    return df.assign(is_valid=[not error for error in errors], error=errors)[["is_valid", "error"]]
