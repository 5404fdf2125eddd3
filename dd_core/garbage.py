"""Keeps the garbage collector from looking, in the middle of a run, at what was there before it.

A full collection walks every object of the process, a hundred thousand and more once the libraries
are loaded. That takes 0.1 to 0.2 s in which no answer is read and no request is sent.
"""

from __future__ import annotations

import gc
from threading import Lock


class OlderObjects:
    """The objects that a run has found; they are left alone until it is over."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_over = False
        self._is_ours = gc.get_freeze_count() == 0
        """Whether nobody else has frozen objects, which are not ours to thaw."""

    def leave_alone(self) -> None:
        """Leave alone what is there now. May be called again, from any thread."""
        with self._lock:
            if self._is_ours and not self._is_over:
                gc.freeze()
                gc.collect()  # quick now; it decides when the next full collection is due

    def take_back(self) -> None:
        """The run is over: they are looked at again when the time comes."""
        with self._lock:
            self._is_over = True
            if self._is_ours:
                gc.unfreeze()
