"""What a configuration may use of this machine, depending on where it comes from.

A configuration in a file, a mapping or a Python object belongs to whoever loads it, and may use
everything. A configuration from an address may have been written by anybody, so it only describes
a dataset: it imports and runs no code, reads no files, and chooses no keys. Whoever has read it can
trust it, and then it may do the same as a file.

A declaration that uses one of these things calls `require_trust` while it is validated.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Reading:
    """A configuration that is being read."""

    is_trusted: bool
    uses: list[str] = field(default_factory=list[str])
    """What it uses of this machine, whether that is allowed or not, such as `imports and runs
    'names:make'`."""


_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def observe_uses(*, trusted: bool) -> Generator[Reading]:
    """Collect what the configurations that are read in this context use of this machine.

    If they are not `trusted`, uses are refused. What an outer context does not trust, an inner one
    cannot trust, and the outer context lists the uses of the inner one.
    """
    outer = _reading.get()
    reading = Reading(trusted) if outer is None else Reading(trusted and outer.is_trusted)
    token = _reading.set(reading)
    try:
        yield reading
    finally:
        _reading.reset(token)
        if outer is not None:
            outer.uses += [use for use in reading.uses if use not in outer.uses]


def require_trust(use: str) -> None:
    """Raise `ValueError` if a configuration that is not trusted is being read.

    `use` says what it would do, in the third person: `reads the file 'a.csv'`.
    """
    reading = _reading.get()
    if reading is None:
        return
    if use not in reading.uses:
        reading.uses.append(use)
    if not reading.is_trusted:
        raise ValueError(f"{use}, which only a trusted configuration may do")
