"""Identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.storage.arrow import Values

_LONG, _SHORT = 32, 8
_ROUNDS = 6
_GOLDEN = 0x9E3779B1


class UUIDSamplerParams(SamplerParams):
    """The 32 hexadecimal digits of a random (version 4) UUID, without hyphens."""

    distribution_type = "text"

    sampler_type: Literal["uuid"] = "uuid"
    prefix: str | None = None
    """Text in front of the digits."""
    short_form: bool = False
    """Only the first 8 digits. They do not repeat within the first 2**32 rows of a dataset."""
    uppercase: bool = False
    """Digits A-F instead of a-f; the prefix stays as it is."""

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> list[str]:
        """Identifiers, one a row."""
        octets = _short_octets(draws) if self.short_form else _octets(draws)
        length = _SHORT if self.short_form else _LONG
        digits = octets.tobytes().hex(" ", length // 2)
        if self.uppercase:
            digits = digits.upper()
        texts = digits.split()
        return [self.prefix + text for text in texts] if self.prefix else texts


def _octets(draws: Draws) -> NDArray[np.uint8]:
    """Sixteen random octets a row with version and variant in place, shape (size, 16)."""
    words = np.stack([draws.bits("high"), draws.bits("low")], axis=1)
    octets = words.astype("<u8", copy=False).view(np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    return octets


def _short_octets(draws: Draws) -> NDArray[np.uint8]:
    """Four octets a row, shape (size, 4), by a keyed permutation (Feistel network) of the row.

    Eight random digits would repeat after some ten thousand rows, and rows that are drawn apart
    cannot compare theirs; a permutation never repeats.
    """
    keys = replace(draws, start=0, size=_ROUNDS).bits("short").astype(np.uint32)
    row = np.arange(draws.start, draws.start + draws.size, dtype=np.uint64).astype(np.uint32)
    left, right = row >> 16, row & 0xFFFF
    for key in keys:
        mixed = (right ^ key) * np.uint32(_GOLDEN)
        mixed = (mixed ^ (mixed >> 15)) * np.uint32(_GOLDEN)
        left, right = right, left ^ (mixed >> 16)
    return (left << 16 | right).astype(">u4").view(np.uint8).reshape(-1, 4)
