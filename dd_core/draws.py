"""Random numbers that belong to a row, not to the order in which rows are made.

Every number is a function of (run seed, column, lane, row index) through the counter-based Philox
generator: rows 1,000 to 1,999 hold the same values whether they are drawn alone, as part of a
larger batch, first or last, here or on another machine. See docs/decisions/0002.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_STEP = 4  # one step of Philox's counter yields four 64-bit words
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
            draw(np.random.RandomState(self._philox(f"{lane}/{block}", 0)), _BLOCK)
            for block in range(first, last + 1)
        ]
        skipped = self.start - first * _BLOCK
        return np.concatenate(blocks)[skipped : skipped + self.size]

    def _generator(self, lane: int | str) -> np.random.Generator:
        return np.random.Generator(self._philox(lane, self.start // _WORDS_PER_STEP))

    def _philox(self, lane: int | str, counter: int) -> np.random.Philox:
        name = f"{self.seed}/{self.attempt}/{lane}/{self.column}"
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        return np.random.Philox(key=int.from_bytes(digest, "little"), counter=counter)


def permutation(seed: int, name: str, cycle: int, size: int) -> NDArray[np.int64]:
    """The order in which a shuffled seed dataset of `size` rows is read in its n-th cycle."""
    digest = hashlib.blake2b(f"{seed}/{cycle}/{name}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    return generator.permutation(size)
