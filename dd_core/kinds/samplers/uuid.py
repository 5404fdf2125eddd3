"""The `uuid` sampler: unique identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.storage.arrow import Values

_LONG, _SHORT = 32, 8
_ROUNDS = 6
_GOLDEN = 0x9E3779B1  # 2**32 divided by the golden ratio: a multiplier that mixes bits well


class UUIDSamplerParams(SamplerParams):
    """The 32 hexadecimal digits of a random (version 4) UUID, without hyphens."""

    distribution_type = "text"

    sampler_type: Literal["uuid"] = "uuid"
    prefix: str | None = None
    """String in front of the digits; default: none."""
    short_form: bool = False
    """Whether to use 8 digits instead of 32; default: no. Short UUIDs do not repeat within the
    first 2**32 rows of a dataset."""
    uppercase: bool = False
    """Whether to write the digits A to F in uppercase; default: no. The prefix is not changed."""

    def arrow_type(self, convert_to: str | None) -> Any:
        """Type of text."""
        import pyarrow as pa

        return pa.string()

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> list[str]:
        """Draw one identifier per row."""
        octets = _short_octets(draws) if self.short_form else _octets(draws)
        length = _SHORT if self.short_form else _LONG
        digits = octets.tobytes().hex(" ", length // 2)
        if self.uppercase:
            digits = digits.upper()
        identifiers = digits.split()
        return [self.prefix + each for each in identifiers] if self.prefix else identifiers


def _octets(draws: Draws) -> NDArray[np.uint8]:
    """Sixteen random octets per row, with version and variant set; shape (size, 16)."""
    words = np.stack([draws.bits("high"), draws.bits("low")], axis=1)
    octets = words.astype("<u8", copy=False).view(np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    return octets


def _short_octets(draws: Draws) -> NDArray[np.uint8]:
    """Four octets per row from a keyed permutation (Feistel network) of the row; shape (size, 4).

    Eight random digits would repeat after some ten thousand rows, and batches that run on
    different machines cannot compare theirs. A permutation never repeats.
    """
    keys = replace(draws, start=0, size=_ROUNDS, keys=None).bits("short").astype(np.uint32)
    row = draws.places.astype(np.uint64).astype(np.uint32)
    left, right = row >> 16, row & 0xFFFF
    for key in keys:
        mixed = (right ^ key) * np.uint32(_GOLDEN)
        mixed = (mixed ^ (mixed >> 15)) * np.uint32(_GOLDEN)
        left, right = right, left ^ (mixed >> 16)
    return (left << 16 | right).astype(">u4").view(np.uint8).reshape(-1, 4)
