"""Scheduling hints of generators written for NeMo Data Designer.

They are checked and kept, and change nothing: the engine sees from a generator's kind and its model
what it waits for (`dd_core/column.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


class SchedulingMetadataError(ValueError):
    """Hints that contradict themselves."""


@dataclass(frozen=True)
class SchedulingMetadata:
    """What a generator keeps busy: this machine or a model."""

    kind: Literal["local", "model", "custom_model"] = "local"
    identity: tuple[str, ...] = ("local", "default")
    weight: int = 1
    diagnostics: dict[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        if self.kind not in ("local", "model", "custom_model"):
            raise SchedulingMetadataError(f"kind {self.kind!r} is not local, model or custom_model")
        if not self.identity or not all(self.identity):
            raise SchedulingMetadataError("identity must be a tuple of texts that are not empty")
        if self.weight < 1:
            raise SchedulingMetadataError(f"weight must be at least 1, not {self.weight}")
