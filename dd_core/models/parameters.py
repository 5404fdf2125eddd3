"""Inference parameters that are drawn for every request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from dd_core.declaration.kind import Declaration


class UniformDistributionParams(Declaration):
    """Bounds of a uniform distribution."""

    low: float
    """Smallest value."""
    high: float
    """Values stay below this."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        return self


class UniformDistribution(Declaration):
    """A parameter drawn uniformly for every request."""

    distribution_type: Literal["uniform"] = "uniform"
    params: UniformDistributionParams
    """Its bounds."""

    @property
    def extremes(self) -> tuple[float, float]:
        return self.params.low, self.params.high

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        return float(rng.uniform(self.params.low, self.params.high))


class ManualDistributionParams(Declaration):
    """Values and how often each is used."""

    values: list[float] = Field(min_length=1)
    """What to choose from."""
    weights: list[float] | None = None
    """Relative frequency of each value; equal, if not given."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values):
            raise ValueError(f"give {len(self.values)} weights, one for each of the values")
        if min(self.weights) < 0 or sum(self.weights) == 0:
            raise ValueError("weights must not be negative and must not all be 0")
        return self


class ManualDistribution(Declaration):
    """A parameter drawn from a list for every request."""

    distribution_type: Literal["manual"] = "manual"
    params: ManualDistributionParams
    """What to choose from."""

    @property
    def extremes(self) -> tuple[float, float]:
        return min(self.params.values), max(self.params.values)

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        weights = np.asarray(self.params.weights or [1.0] * len(self.params.values))
        return float(rng.choice(self.params.values, p=weights / weights.sum()))


Distribution = Annotated[
    UniformDistribution | ManualDistribution, Field(discriminator="distribution_type")
]
LIMITS = (
    "max_parallel_requests",
    "timeout",
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
"""Inference parameters that do not change what a model answers."""


class InferenceParams(Declaration):
    """What all requests to a model have in common."""

    max_parallel_requests: int = Field(default=4, ge=1)
    """Requests to this model in flight at the same time."""
    timeout: int | None = Field(default=None, ge=1)
    """Seconds to wait for an answer; 60 if not given."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests that may be started in any minute."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens, sent and received, in any minute."""
    input_tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens sent in any minute."""
    output_tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens received in any minute."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request's body."""

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The named fields of a request, distributions resolved to a number."""
        return {}

    def identity(self) -> dict[str, Any]:
        """The parameters that determine what the model answers."""
        return self.model_dump(mode="json", exclude={*LIMITS})

    def rates(self) -> dict[str, int | None]:
        """The limits per minute by what they count."""
        return {
            "requests": self.requests_per_minute,
            "tokens": self.tokens_per_minute,
            "input_tokens": self.input_tokens_per_minute,
            "output_tokens": self.output_tokens_per_minute,
        }


class ChatCompletionInferenceParams(InferenceParams):
    """Parameters of a chat model."""

    generation_type: Literal["chat-completion"] = "chat-completion"
    temperature: float | Distribution | None = None
    """Randomness of the answers, 0 to 2."""
    top_p: float | Distribution | None = None
    """Share of the probability mass that tokens are sampled from, 0 to 1."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens."""

    @field_validator("temperature")
    @classmethod
    def _temperature_in_range(cls, value: Any) -> Any:
        return _within(value, "temperature", 0.0, 2.0)

    @field_validator("top_p")
    @classmethod
    def _top_p_in_range(cls, value: Any) -> Any:
        return _within(value, "top_p", 0.0, 1.0)

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The named fields of a request, distributions resolved to a number."""
        fields: dict[str, Any] = {}
        for name in ("temperature", "top_p"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value if isinstance(value, int | float) else value.sample(rng)
        if self.max_tokens is not None:
            fields["max_tokens"] = self.max_tokens
        return fields


class EmbeddingInferenceParams(InferenceParams):
    """Parameters of an embedding model."""

    generation_type: Literal["embedding"] = "embedding"
    encoding_format: Literal["float", "base64"] = "float"
    """How vectors come over the wire."""
    dimensions: int | None = None
    """Length of the vectors, for models that can choose."""

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The format, and the length where one is wished for."""
        length = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"encoding_format": self.encoding_format, **length}


class ImageInferenceParams(InferenceParams):
    """Parameters of an image model; everything particular goes into `extra_body`."""

    generation_type: Literal["image"] = "image"


def _within(value: Any, name: str, low: float, high: float) -> Any:
    if value is None:
        return None
    least, most = (value, value) if isinstance(value, int | float) else value.extremes
    if least < low or most > high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}")
    return value


def _generation_type(value: Any) -> str:
    """The tag, also of mappings that leave it out."""
    if not isinstance(value, Mapping):
        return str(value.generation_type)
    given: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    if "generation_type" in given:
        return str(given["generation_type"])
    is_embedding = "encoding_format" in given or "dimensions" in given
    return "embedding" if is_embedding else "chat-completion"


InferenceParameters = Annotated[
    Annotated[ChatCompletionInferenceParams, Tag("chat-completion")]
    | Annotated[EmbeddingInferenceParams, Tag("embedding")]
    | Annotated[ImageInferenceParams, Tag("image")],
    Discriminator(_generation_type),
]
