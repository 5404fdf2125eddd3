"""Inference parameters: sampling, rate limits and timeouts of requests to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from dd_core.declaration.kind import Declaration
from dd_core.declaration.own_fields import OWN, drop_unset
from dd_core.declaration.written import Fields, for_identity

if TYPE_CHECKING:
    import numpy as np


class UniformDistributionParams(Declaration):
    """Bounds of a uniform distribution."""

    low: float
    """Lower bound, inclusive."""
    high: float
    """Upper bound, exclusive."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        return self


class UniformDistribution(Declaration):
    """A parameter that is drawn from a uniform distribution for each request."""

    distribution_type: Literal["uniform"] = "uniform"
    params: UniformDistributionParams
    """Bounds of the distribution."""

    @property
    def extremes(self) -> tuple[float, float]:
        return self.params.low, self.params.high

    def sample(self, rng: np.random.Generator | None = None) -> float:
        """One draw; default: from a random seed."""
        import numpy as np

        return float((rng or np.random.default_rng()).uniform(self.params.low, self.params.high))


class ManualDistributionParams(Declaration):
    """Values and their weights."""

    values: list[float] = Field(min_length=1)
    """Values to choose from."""
    weights: list[float] | None = None
    """Relative frequency of each value; default: equal frequencies."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values):
            raise ValueError(f"weights must contain {len(self.values)} numbers, one for each value")
        if min(self.weights) < 0 or sum(self.weights) == 0:
            raise ValueError("weights must not be negative and must not all be 0")
        return self


class ManualDistribution(Declaration):
    """A parameter that is drawn from a list of values for each request."""

    distribution_type: Literal["manual"] = "manual"
    params: ManualDistributionParams
    """Values and weights of the distribution."""

    @property
    def extremes(self) -> tuple[float, float]:
        return min(self.params.values), max(self.params.values)

    def sample(self, rng: np.random.Generator | None = None) -> float:
        """One draw; default: from a random seed."""
        import numpy as np

        weights = np.asarray(self.params.weights or [1.0] * len(self.params.values))
        return float(
            (rng or np.random.default_rng()).choice(self.params.values, p=weights / weights.sum())
        )


Distribution = Annotated[
    UniformDistribution | ManualDistribution, Field(discriminator="distribution_type")
]
MAX_RESPONSE_BYTES = 128 * 2**20
"""Default of the maximum size of a response."""
LIMITS = (
    "max_parallel_requests",
    "timeout",
    "max_response_bytes",
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
"""Inference parameters that do not change what a model answers."""


class InferenceParams(Declaration):
    """Parameters that all types of models share."""

    max_parallel_requests: int = Field(default=4, ge=1)
    """Maximum number of requests to this model in flight at the same time; default: 4."""
    timeout: int | None = Field(default=None, ge=1)
    """Deadline in seconds for a request, from connecting to the last byte of its answer; default:
    60."""
    max_response_bytes: Annotated[int, OWN] = Field(default=MAX_RESPONSE_BYTES, ge=1)
    """Maximum size in bytes, after decompression, of a response and of an image that a response
    links to; default: 134217728 (128 MiB). Anything larger is not read to its end."""
    requests_per_minute: Annotated[int | None, OWN] = Field(default=None, ge=1)
    """Maximum number of requests started per minute; default: no limit."""
    tokens_per_minute: Annotated[int | None, OWN] = Field(default=None, ge=1)
    """Maximum number of input and output tokens per minute; default: no limit."""
    input_tokens_per_minute: Annotated[int | None, OWN] = Field(default=None, ge=1)
    """Maximum number of input tokens per minute; default: no limit."""
    output_tokens_per_minute: Annotated[int | None, OWN] = Field(default=None, ge=1)
    """Maximum number of output tokens per minute; default: no limit."""
    extra_body: Fields | None = None
    """Additional fields of the request body. Keys among them are masked wherever the configuration
    is written."""

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The fields of one request; distributions are drawn from."""
        return {}

    @property
    def generate_kwargs(self) -> dict[str, Any]:
        """The parameters of one request by name; distributions are drawn from."""
        import numpy as np

        found = self.request_fields(np.random.default_rng())
        more = {"timeout": self.timeout, "extra_body": self.extra_body}
        return found | {name: value for name, value in more.items() if value}

    def get_formatted_params(self) -> list[str]:
        """The parameters that are set, such as `temperature=0.70`."""
        found = drop_unset(self, self.model_dump(mode="json", exclude_none=True))
        return [f"{name}={_format(value)}" for name, value in found.items()]

    def format_for_display(self) -> str:
        """The parameters that are set, in one line."""
        return ", ".join(self.get_formatted_params())

    def identity(self) -> dict[str, Any]:
        """The parameters that determine what the model answers."""
        return self.model_dump(mode="json", exclude={*LIMITS}, context=for_identity)

    def rates(self) -> dict[str, int | None]:
        """The limits per minute, by the name of what they count."""
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
    """Sampling temperature, 0 to 2: a number, or a distribution to draw from."""
    top_p: float | Distribution | None = None
    """Share of the probability mass that tokens are sampled from, 0 to 1 (nucleus sampling): a
    number, or a distribution to draw from."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Maximum length of a response in tokens."""

    @field_validator("temperature")
    @classmethod
    def _temperature_in_range(cls, value: Any) -> Any:
        return _within(value, "temperature", 0.0, 2.0)

    @field_validator("top_p")
    @classmethod
    def _top_p_in_range(cls, value: Any) -> Any:
        return _within(value, "top_p", 0.0, 1.0)

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The fields of one request; distributions are drawn from."""
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
    """Encoding of vectors in responses: `float` (default) or `base64`."""
    dimensions: int | None = None
    """Length of the vectors, for models that support several; default: the default of the model."""

    def request_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        """The encoding, and the length of the vectors if it is set."""
        dimensions = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"encoding_format": self.encoding_format, **dimensions}


class ImageInferenceParams(InferenceParams):
    """Parameters of an image model. Options of a particular model go into `extra_body`."""

    generation_type: Literal["image"] = "image"


def _format(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    is_distribution = isinstance(value, Mapping) and "distribution_type" in value
    return "dist" if is_distribution else text


def _within(value: Any, name: str, low: float, high: float) -> Any:
    if value is None:
        return None
    smallest, largest = (value, value) if isinstance(value, int | float) else value.extremes
    if smallest < low or largest > high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}")
    return value


def _generation_type(value: Any) -> str:
    """The tag of a value; for a mapping without a tag, inferred from its other keys."""
    if not isinstance(value, Mapping):
        return str(getattr(value, "generation_type", "chat-completion"))
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
