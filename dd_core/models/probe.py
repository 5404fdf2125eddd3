"""Small requests that show, before a run, whether a model can do what columns ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dd_core.errors import ModelUnsupportedCapabilityError
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.model import Model


@dataclass(frozen=True)
class Probe:
    """A request for the continuation of a text, or of the last message."""

    body: Mapping[str, Any]
    """`prompt` or `messages`, and further fields of the request."""
    purpose: str
    """What columns need it for, as an error says it, such as "raw completions"."""
    needs_logprobs: bool = False
    """Whether the answer must contain log probabilities."""

    async def send(self, model: Model, slot: RequestSlot, column: str, **retries: Any) -> None:
        """Send the request. Raises a `ModelError`."""
        reply = await model.complete(slot, column, {**self.body, "max_tokens": 1}, **retries)
        if self.needs_logprobs and reply.logprobs is None:
            raise ModelUnsupportedCapabilityError(
                f"model {model.alias!r} returned no log probabilities; set with_logprobs to false, "
                "or use a model of another provider"
            )
