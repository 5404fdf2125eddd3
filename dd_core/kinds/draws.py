"""Random numbers that depend on the row, not on the order in which rows are generated.

Every number is a function of (run seed, column, stream, row index), computed with the counter-based
Philox generator. Rows 1,000 to 1,999 have the same values whether they are drawn alone or as part
of a larger batch, first or last, on this machine or on another one. See docs/decisions/0002.

In a stage of a workflow, a row's place in the dataset says little, because rows before it may come
and go. There, a row has a key, a hash of its address, and every number is a function of the key.
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

from dd_core.storage.batch import are_keys

_WORDS_PER_STEP = 4  # one step of Philox's counter yields four 64-bit words
_WORD = 2**64 - 1
_BLOCK = 256  # rows per generator in `blockwise`


@dataclass(frozen=True)
class Draws:
    """Random numbers of one column for the rows `start` to `start + size - 1`.

    A sampler that needs several independent numbers per row draws each from another stream. The
    `stream` argument, an integer or a name, selects it. Two calls with the same stream return the
    same numbers.
    """

    seed: int
    """Seed of the run."""
    column: str
    """Name of the column."""
    start: int
    """First row, counted from the start of the dataset."""
    size: int
    """Number of rows."""
    attempt: int = 0
    """Attempt of rejection sampling; each attempt has different numbers."""
    keys: NDArray[np.int64] | None = None
    """What the numbers depend on instead of the rows' places, shape (size,); default: the places.
    """

    @classmethod
    def of_rows(cls, seed: int, column: str, numbers: NDArray[np.int64]) -> tuple[Draws, int]:
        """Return draws that cover these rows, and their first row.

        `numbers` are the rows' keys, or places, which need not be consecutive. With keys, the draws
        are those of the rows in their order, and the first row is 0.
        """
        if are_keys(numbers):
            return cls(seed, column, 0, len(numbers), keys=numbers), 0
        first = int(numbers.min())
        return cls(seed, column, first, int(numbers.max()) - first + 1), first

    def again(self, attempt: int) -> Draws:
        """Return the draws of the same rows for another attempt."""
        return replace(self, attempt=attempt)

    def between(self, first: int, stop: int) -> Draws:
        """Return the draws of these rows from index `first` up to, but not including, `stop`."""
        keys = None if self.keys is None else self.keys[first:stop]
        return replace(self, start=self.start + first, size=stop - first, keys=keys)

    @property
    def places(self) -> NDArray[np.int64]:
        """The rows' keys if they have any; otherwise their places, shape (size,)."""
        if self.keys is not None:
            return self.keys
        return np.arange(self.start, self.start + self.size, dtype=np.int64)

    def uniform(self, stream: int | str = 0) -> NDArray[np.float64]:
        """Return floats in [0, 1), shape (size,)."""
        if self.keys is not None:
            words = (self.bits(stream) >> np.uint64(11)).astype(np.float64)
            return words * np.float64(2.0**-53)
        # The counter can only be set to a multiple of four words, so up to three are skipped.
        offset = self.start % _WORDS_PER_STEP
        return self._generator(stream).random(offset + self.size)[offset:]

    def bits(self, stream: int | str = 0) -> NDArray[np.uint64]:
        """Return uniform 64-bit words, shape (size,)."""
        if self.keys is not None:
            return _mix_keys(self.keys, self._key(stream))
        offset = self.start % _WORDS_PER_STEP
        words = self._generator(stream).bit_generator.random_raw(offset + self.size)
        return np.asarray(words, dtype=np.uint64)[offset:]

    def normal(self, stream: int | str = 0) -> NDArray[np.float64]:
        """Return standard normal deviates, shape (size,)."""
        # Box-Muller, because it takes exactly two numbers per row. NumPy's own method takes a
        # varying number, so a row's value would depend on the rows before it.
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(f"{stream}/radius")))
        return radius * np.cos(2.0 * np.pi * self.uniform(f"{stream}/angle"))

    def choice(self, weights: NDArray[np.float64], stream: int | str = 0) -> NDArray[np.int64]:
        """Return indexes into `weights`, drawn in proportion to the weights, shape (size,)."""
        bounds = np.cumsum(weights)
        return np.searchsorted(bounds / bounds[-1], self.uniform(stream), side="right")

    def below(self, stop: int | NDArray[np.int64], stream: int | str = 0) -> NDArray[np.int64]:
        """Return uniform integers from 0 to `stop - 1`, shape (size,).

        `stop` is a single number, or an array with one number per row.
        """
        # A float just below 1 may round up to `stop` in the product.
        return np.minimum((self.uniform(stream) * stop).astype(np.int64), np.asarray(stop) - 1)

    def randoms(self, stream: int | str = 0) -> list[Random]:
        """Return one standard-library generator per row, for code that draws row by row."""
        return [Random(int(word)) for word in self.bits(stream)]

    def blockwise(
        self, draw: Callable[[np.random.RandomState, int], NDArray[Any]], stream: int | str = 0
    ) -> NDArray[Any]:
        """Return what `draw(generator, count)` returns for these rows, shape (size,).

        This is for methods that consume a varying number of random numbers per row. Every block of
        256 rows of the dataset has its own generator and is always drawn completely, so a row's
        value does not depend on its batch. The generator is NumPy's RandomState, whose algorithms
        are the same in all versions.
        """
        if self.keys is not None:
            keys = [self._key(f"{stream}/{key}") for key in self.keys.tolist()]
            drawn = [draw(np.random.RandomState(np.random.Philox(key=key)), 1) for key in keys]
            return np.concatenate(drawn or [draw(np.random.RandomState(0), 0)])
        first = self.start // _BLOCK
        last = (self.start + max(self.size, 1) - 1) // _BLOCK
        keys = [self._key(f"{stream}/{block}") for block in range(first, last + 1)]
        blocks = [draw(np.random.RandomState(np.random.Philox(key=key)), _BLOCK) for key in keys]
        skipped = self.start - first * _BLOCK
        return np.concatenate(blocks)[skipped : skipped + self.size]

    def _generator(self, stream: int | str) -> np.random.Generator:
        """Return a generator positioned at the first row.

        It is shared: the next call in the same thread moves it.
        """
        key = self._key(stream)
        counter = self.start // _WORDS_PER_STEP
        return _generators.at((key & _WORD, key >> 64), counter)

    def _key(self, stream: int | str) -> int:
        """Return the 128-bit key of a stream."""
        # A change of this format would change every sampled value of every dataset.
        name = f"{self.seed}/{self.attempt}/{stream}/{self.column}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")


def _mix_keys(keys: NDArray[np.int64], stream: int) -> NDArray[np.uint64]:
    """Return a word for each key, from two rounds of the finalizer of SplitMix64."""
    words = keys.astype(np.uint64)
    for part in (stream & _WORD, stream >> 64):
        words = words ^ np.uint64(part)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words = words ^ (words >> np.uint64(31))
    return words


class _Generators(threading.local):
    """One generator per thread, reused because creating one requests entropy from the system."""

    def __init__(self) -> None:
        self._philox = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._philox)
        self._state: Any = self._philox.state

    def at(self, key: tuple[int, int], counter: int) -> np.random.Generator:
        """Return the thread's generator with this key, positioned at this step."""
        position = self._state["state"]
        position["key"][:] = key
        position["counter"][:] = (counter & _WORD, counter >> 64, 0, 0)
        self._philox.state = self._state
        return self._generator


_generators = _Generators()


def permute(seed: int, name: str, cycle: int, size: int) -> NDArray[np.int64]:
    """Return the order in which a shuffled dataset is read, shape (size,).

    `name` identifies the dataset. `cycle` counts the passes over it, from 0; each has its own
    order.
    """
    digest = hashlib.blake2b(f"{seed}/{cycle}/{name}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    return generator.permutation(size)
