"""Declarations of models and of the providers that serve them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    field_serializer,
    field_validator,
)

from dd_core.declaration.kind import Declaration
from dd_core.models.parameters import ChatCompletionInferenceParams, InferenceParameters
from dd_core.models.secrets import BLOCK_PREFIX, mask_secret, parse_key_reference


class Price(Declaration):
    """Dollars per million tokens."""

    input: float = Field(ge=0)
    """Tokens sent."""
    output: float = Field(ge=0)
    """Tokens received."""
    cached: float | None = Field(default=None, ge=0)
    """Tokens sent that the provider had cached; the price of `input`, if not given."""


class GenerationType(StrEnum):
    """What a model generates."""

    CHAT_COMPLETION = "chat-completion"
    EMBEDDING = "embedding"
    IMAGE = "image"


_IMAGE_ROUTE = ("dall-e-", "dalle", "stable-diffusion", "sd-", "sd_", "imagen", "gpt-image-")
"""Parts of names of models that are asked by the images route."""


class ModelProvider(Declaration):
    """A server of models and how to reach it."""

    name: str = Field(min_length=1)
    """Name that models refer to."""
    endpoint: str
    """Base address, for example `https://api.openai.com/v1`."""
    provider_type: str = "openai"
    """Wire format that the server speaks."""
    api_key: SecretStr | None = None
    """Name of the environment variable that holds the key, or `block:<name>` for a Secret block of
    Prefect. A literal key works from Python, but is masked wherever the configuration is written.
    """
    extra_body: dict[str, Any] | None = None
    """Fields added to every request's body; they win over the model's."""
    extra_headers: dict[str, str] | None = Field(default=None, repr=False)
    """Headers added to every request."""

    @property
    def key_reference(self) -> str | None:
        """Where the key is to be found: the variable or block that `api_key` names; None for a
        literal key or no key."""
        return parse_key_reference(self.api_key.get_secret_value()) if self.api_key else None

    @property
    def names_block(self) -> bool:
        """Whether the key is in a block of Prefect."""
        return (self.key_reference or "").startswith(BLOCK_PREFIX)

    @field_serializer("api_key")
    def _names_show_and_keys_do_not(self, value: SecretStr | None) -> str | None:
        return mask_secret(value)

    @field_validator("provider_type")
    @classmethod
    def _supported(cls, value: str) -> str:
        if value.lower() not in ("openai", "anthropic", "local"):
            raise ValueError(
                f"provider_type {value!r} is not supported; use 'openai' or 'anthropic'"
            )
        return value.lower()

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://", "local:")):
            raise ValueError(f"endpoint {value!r} must start with http:// or https://")
        return value.rstrip("/")


class Endpoint(Declaration):
    """One of several servers of a model. What is not given is the model's own."""

    base_url: str | None = None
    """Address of the server; `provider` then only names its wire format."""
    provider: str | None = None
    """Name of the provider."""
    model: str | None = None
    """This server's id of the model."""
    api_key_env_var: str | None = None
    """Environment variable with the key for this server."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the requests, relative to the other endpoints."""


class ModelConfig(Declaration):
    """A model under the alias that columns refer to."""

    alias: str = Field(min_length=1)
    """Name that columns use."""
    model: str
    """The provider's id of the model."""
    inference_parameters: InferenceParameters = Field(default_factory=ChatCompletionInferenceParams)
    """Sampling parameters, parallelism and timeout."""
    provider: str | None = None
    """Name of the provider; the first registered one, if not given."""
    skip_health_check: bool = False
    """Do not ask the model anything before the run."""
    structured_output: Literal["auto", "provider", "prompt"] = "auto"
    """Whether the server enforces JSON schemas: `auto` tries and remembers a refusal, `provider`
    insists, `prompt` only describes the schema to the model."""
    base_url: str | None = None
    """Address of a server for this model alone; `provider` then only names its wire format."""
    api_key_env_var: str | None = None
    """Environment variable with the key for this model alone."""
    endpoints: list[Endpoint] | None = Field(default=None, min_length=1)
    """Several servers that share the requests; one that fails rests and is tried again later."""
    price: Price | None = None
    """What the model's tokens cost; never guessed."""
    fallback: str | None = None
    """Alias of the model that answers when no server knows this one any more (404)."""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(f"base_url {value!r} must start with http:// or https://")
        return value.rstrip("/") if value else value

    @property
    def draws_by_chat(self) -> bool:
        """Whether images are asked for in a chat, rather than by the images route."""
        return not any(part in self.model.lower() for part in _IMAGE_ROUTE)

    def at_endpoints(self) -> list[tuple[ModelConfig, float]]:
        """The model as each of its endpoints serves it, with that endpoint's weight."""
        if self.endpoints is None:
            return [(self, 1.0)]
        served: list[tuple[ModelConfig, float]] = []
        for endpoint in self.endpoints:
            own = endpoint.model_dump(exclude={"weight"}, exclude_none=True)
            served.append((self.changed(**own, endpoints=None), endpoint.weight))
        return served

    @property
    def generation_type(self) -> GenerationType:
        """What the model generates."""
        return GenerationType(self.inference_parameters.generation_type)

    def identity(self) -> dict[str, Any]:
        """The part that determines what the model answers, for the fingerprint."""
        return {
            "model": self.model,
            "provider": self.provider,
            "parameters": self.inference_parameters.identity(),
        }
