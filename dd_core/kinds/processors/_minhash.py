"""MinHash signatures of texts, and the bands in which similar texts agree.

Two signatures agree in about the fraction of positions that is the Jaccard index of the texts'
word sequences. Locality-sensitive hashing (LSH) cuts signatures into bands, so that only texts that
agree in a whole band need to be compared.
"""

# pyright: reportMissingTypeStubs=false
# (datasketch has no type annotations)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.processors._words import split_words

_SEED = 1
_LSH_WEIGHTS = (0.1, 0.9)
"""Weights of false positives and false negatives when the number of bands is chosen. False
negatives weigh more, because false positives are sorted out by comparing the signatures."""


def compute_signature(text: str, ngram_size: int, num_permutations: int) -> NDArray[np.uint32]:
    """Return the MinHash signature of a text's word sequences, shape (num_permutations,)."""
    from datasketch import MinHash

    words = split_words(text)
    size = min(ngram_size, len(words)) or 1
    ngrams = {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}
    minhash: Any = MinHash(num_perm=num_permutations, seed=_SEED)
    minhash.update_batch([ngram.encode() for ngram in ngrams])
    return minhash.hashvalues.astype(np.uint32)


def choose_bands(similarity: float, num_permutations: int) -> list[slice]:
    """Return the bands in which texts of at least this similarity probably agree."""
    from datasketch import MinHashLSH

    lsh: Any = MinHashLSH(similarity, num_perm=num_permutations, weights=_LSH_WEIGHTS)
    return [slice(band * lsh.r, (band + 1) * lsh.r) for band in range(lsh.b)]


def find_equal(band: NDArray[np.uint32]) -> Iterator[NDArray[np.intp]]:
    """Yield groups of two or more rows that are equal in a band, each in row order.

    `band` has the shape (rows, values).
    """
    band = np.ascontiguousarray(band)
    # A row's values are viewed as one byte string, so that NumPy can sort and compare whole rows.
    keys = band.view(f"S{band.itemsize * band.shape[1]}").ravel()
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(order))
    for group in np.flatnonzero(stops - starts > 1):
        yield order[starts[group] : stops[group]]
