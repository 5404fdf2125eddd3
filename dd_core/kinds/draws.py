"""Random numbers that belong to a row, not to the order in which rows are made.

Every number is a function of (run seed, column, lane, row index) through the counter-based Philox
generator: rows 1,000 to 1,999 hold the same values whether they are drawn alone, as part of a
larger batch, first or last, here or on another machine. See docs/decisions/0002.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_STEP = 4  # one step of Philox's counter yields four 64-bit words
_WORD = 2**64 - 1
_BLOCK = 256  # rows that `blockwise` draws with one generator


@dataclass(frozen=True)
class Draws:
    """Random numbers of one column for the rows `start` to `start + size - 1`."""

    seed: int
    column: str
    start: int
    size: int
    attempt: int = 0
    """Rejection sampling draws again with the next attempt; each has numbers of its own."""

    def again(self, attempt: int) -> Draws:
        """The same rows with the numbers of another attempt."""
        return replace(self, attempt=attempt)

    def between(self, first: int, stop: int) -> Draws:
        """The draws of the `first` to `stop - 1`-th of these rows."""
        return replace(self, start=self.start + first, size=stop - first)

    def uniform(self, lane: int | str = 0) -> NDArray[np.float64]:
        """Floats in [0, 1), shape (size,); every lane is an independent sequence."""
        offset = self.start % _WORDS_PER_STEP
        return self._generator(lane).random(offset + self.size)[offset:]

    def bits(self, lane: int | str = 0) -> NDArray[np.uint64]:
        """Uniform 64-bit words, shape (size,)."""
        offset = self.start % _WORDS_PER_STEP
        words = self._generator(lane).bit_generator.random_raw(offset + self.size)
        return np.asarray(words, dtype=np.uint64)[offset:]

    def normal(self, lane: int | str = 0) -> NDArray[np.float64]:
        """Standard normal deviates, shape (size,), by the Box-Muller transform."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(f"{lane}/radius")))
        return radius * np.cos(2.0 * np.pi * self.uniform(f"{lane}/angle"))

    def choice(self, weights: NDArray[np.float64], lane: int | str = 0) -> NDArray[np.int64]:
        """Indexes into `weights`, each as often as its share of their sum says."""
        bounds = np.cumsum(weights)
        return np.searchsorted(bounds / bounds[-1], self.uniform(lane), side="right")

    def below(self, stop: int | NDArray[np.int64], lane: int | str = 0) -> NDArray[np.int64]:
        """Integers from 0 to `stop - 1`, equally likely, shape (size,); one `stop` or one a row."""
        return np.minimum((self.uniform(lane) * stop).astype(np.int64), np.asarray(stop) - 1)

    def randoms(self, lane: int | str = 0) -> list[Random]:
        """One standard-library generator a row, for code that draws one object at a time."""
        return [Random(int(word)) for word in self.bits(lane)]

    def blockwise(
        self, draw: Callable[[np.random.RandomState, int], NDArray[Any]], lane: int | str = 0
    ) -> NDArray[Any]:
        """What `draw(generator, count)` gives, for methods that use up numbers as they need them.

        Every block of 256 rows of the dataset has a generator of its own and is always drawn as a
        whole, so a row's value does not depend on its batch. The generator is NumPy's RandomState,
        whose algorithms stay the same in all versions.
        """
        first = self.start // _BLOCK
        last = (self.start + max(self.size, 1) - 1) // _BLOCK
        blocks = [
            draw(np.random.RandomState(np.random.Philox(key=self._key(f"{lane}/{block}"))), _BLOCK)
            for block in range(first, last + 1)
        ]
        skipped = self.start - first * _BLOCK
        return np.concatenate(blocks)[skipped : skipped + self.size]

    def _generator(self, lane: int | str) -> np.random.Generator:
        """A generator at the row's place; the next call in the same thread moves it away."""
        key = self._key(lane)
        counter = self.start // _WORDS_PER_STEP
        return _generators.at((key & _WORD, key >> 64), counter)

    def _key(self, lane: int | str) -> int:
        name = f"{self.seed}/{self.attempt}/{lane}/{self.column}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")


class _Generators(threading.local):
    """One generator a thread: making one asks the system for entropy that is then not used."""

    def __init__(self) -> None:
        self._philox = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._philox)
        self._state: Any = self._philox.state

    def at(self, key: tuple[int, int], counter: int) -> np.random.Generator:
        place = self._state["state"]
        place["key"][:] = key
        place["counter"][:] = (counter & _WORD, counter >> 64, 0, 0)
        self._philox.state = self._state
        return self._generator


_generators = _Generators()


def permute(seed: int, name: str, cycle: int, size: int) -> NDArray[np.int64]:
    """The order in which a shuffled seed dataset of `size` rows is read in its n-th cycle."""
    digest = hashlib.blake2b(f"{seed}/{cycle}/{name}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    return generator.permutation(size)
