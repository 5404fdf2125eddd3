"""Keeps a flow's tasks out of a transaction that the flow was called in.

Written for Prefect 3.8.8. In a transaction, and therefore also in a task, Prefect writes the
results of nested tasks only when the outermost transaction ends. A run needs its results at once:
they are what a later run continues from, and values that wait for a commit stay in memory. Prefect
has no public way to leave a transaction. Remove this module when a task in a transaction can commit
its own result.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from prefect.transactions import BaseTransaction


@contextmanager
def leave_transactions() -> Generator[None]:
    """Run tasks as if no transaction was active, so that each one commits when it ends."""
    variable = BaseTransaction.__var__
    token = variable.set(None)  # pyright: ignore[reportArgumentType]  # what no transaction means
    try:
        yield
    finally:
        variable.reset(token)
