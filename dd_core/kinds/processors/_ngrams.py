"""Finds texts that share sequences of words with known texts, by hashes of 64 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.processors._words import list_texts, split_words

_TEXTS = 1000
"""Known texts that are hashed together."""
_MOST_WORDS = 1_000_000
"""Words whose hashes are remembered."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Any odd number would do, because the hashes of words are random."""

Hashes: TypeAlias = "tuple[NDArray[np.uint64], NDArray[np.int64]]"
"""Hashes, and the number of the text or of the source that each belongs to."""


class NgramIndex:
    """The word sequences of several sources of texts: 16 bytes of memory for each sequence."""

    def __init__(self, size: int, sources: Sequence[Iterable[str]]) -> None:
        self._size = size
        self._words: dict[str, int] = {}
        self._nobody = len(sources)
        parts = [self._collect(number, texts) for number, texts in enumerate(sources)]
        self._ngrams = _unify([ngrams for ngrams, _ in parts])
        self._whole = _unify([whole for _, whole in parts])

    def find(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Return the number of the first source that each value shares a sequence with.

        The number of sources stands for none. A text that is shorter than a sequence must equal a
        whole text.
        """
        texts = [(row, text) for row, value in enumerate(values) for text in list_texts(value)]
        rows = np.asarray([row for row, _ in texts], dtype=np.int64)
        found = np.full(len(values), self._nobody, dtype=np.int64)
        hashed = self._hash_texts([text for _, text in texts])
        for (known, sources), (hashes, owners) in zip(
            (self._ngrams, self._whole), hashed, strict=True
        ):
            if len(known):
                places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
                equal = known[places] == hashes
                np.minimum.at(found, rows[owners[equal]], sources[places[equal]])
        return found

    def _collect(self, number: int, texts: Iterable[str]) -> tuple[Hashes, Hashes]:
        """Return the distinct hashes of one source."""
        remaining = iter(texts)
        ngrams, whole = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        while some := [*islice(remaining, _TEXTS)]:
            (more, _), (short, _) = self._hash_texts(some)
            ngrams, whole = np.union1d(ngrams, more), np.union1d(whole, short)
        return _label(ngrams, number), _label(whole, number)

    def _hash_texts(self, texts: Sequence[str]) -> tuple[Hashes, Hashes]:
        """Return the hashes of the sequences in long texts, and those of short texts."""
        words = [split_words(text) for text in texts]
        short = [(number, each) for number, each in enumerate(words) if 0 < len(each) < self._size]
        whole = np.asarray([_hash(" ".join(each)) for _, each in short], dtype=np.uint64)
        owners = np.repeat(np.arange(len(words)), [len(each) for each in words])
        count = max(0, len(owners) - self._size + 1)
        flat = np.asarray([self._hash_word(word) for each in words for word in each], np.uint64)
        ngrams = np.zeros(count, dtype=np.uint64)
        for offset in range(self._size):
            ngrams = ngrams * _FACTOR + flat[offset : offset + count]
        # A sequence must not begin in one text and end in the next.
        inside = owners[:count] == owners[self._size - 1 :]
        shorts = np.asarray([number for number, _ in short], dtype=np.int64)
        return (ngrams[inside], owners[:count][inside]), (whole, shorts)

    def _hash_word(self, word: str) -> int:
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= _MOST_WORDS:
                self._words.clear()
            known = self._words[word] = _hash(word)
        return known


def _hash(text: str) -> int:
    # Python's own hash differs between processes.
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest())


def _label(hashes: NDArray[np.uint64], number: int) -> Hashes:
    return hashes, np.full(len(hashes), number, dtype=np.int64)


def _unify(parts: Sequence[Hashes]) -> Hashes:
    """Sort the hashes; those of several sources get the first one."""
    hashes = np.concatenate([each for each, _ in parts])
    numbers = np.concatenate([each for _, each in parts])
    distinct, first = np.unique(hashes, return_index=True)
    return distinct, numbers[first]
