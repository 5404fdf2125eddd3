"""Configuration of models and of the providers that serve them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
)

from dd_core.declaration.kind import Declaration
from dd_core.declaration.own_fields import OWN
from dd_core.declaration.secrets import BLOCK_PREFIX, parse_key_reference
from dd_core.declaration.trust import require_trust
from dd_core.declaration.written import Address, Fields, Headers, Key, KeyVariable
from dd_core.models.parameters import ChatCompletionInferenceParams, InferenceParameters
from dd_core.redaction.rules import mask_address


class Price(Declaration):
    """Price of a model in dollars per million tokens."""

    input: float = Field(ge=0)
    """Price of input tokens."""
    output: float = Field(ge=0)
    """Price of output tokens."""
    cached: float | None = Field(default=None, ge=0)
    """Price of input tokens that the provider had cached; default: the price of `input`."""


class GenerationType(StrEnum):
    """What a model generates."""

    CHAT_COMPLETION = "chat-completion"
    EMBEDDING = "embedding"
    IMAGE = "image"


_IMAGE_ROUTE = ("dall-e-", "dalle", "stable-diffusion", "sd-", "sd_", "imagen", "gpt-image-")
"""Parts of the ids of models that generate images through the images route."""


def _clean_base_url(value: str | None) -> str | None:
    if value is None:
        return None
    value = value.strip().rstrip("/")
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError(f"base_url {mask_address(value)!r} must start with http:// or https://")
    return value


def _check_key_variable(name: str | None) -> str | None:
    if name is not None:
        require_trust(f"sends the environment variable {name!r} to a server")
    return name


class ModelProvider(Declaration):
    """A model server and how to reach it."""

    name: str = Field(min_length=1)
    """Name by which models refer to the provider."""
    endpoint: Address
    """Base URL of the server, for example `https://api.openai.com/v1`. A query string is
    added to every request. A route such as `/chat/completions` at the end is ignored."""
    provider_type: str = "openai"
    """Wire format of the server: `openai` (default) or `anthropic`."""
    api_key: Key | None = None
    """Name of the environment variable that holds the API key, or `block:<name>` for a Prefect
    Secret block. A literal key works from Python, but is masked wherever the configuration is
    written."""
    extra_body: Fields | None = None
    """Fields added to the body of every request; they override the fields of the model. Keys among
    them are masked wherever the configuration is written."""
    extra_headers: Headers | None = Field(default=None, repr=False)
    """Headers added to every request. Keys among them are masked like those in `extra_body`."""

    @property
    def key_reference(self) -> str | None:
        """The variable or block that `api_key` names; None for a literal key or no key."""
        return parse_key_reference(self.api_key.get_secret_value()) if self.api_key else None

    @property
    def names_block(self) -> bool:
        """Whether the API key is stored in a Prefect block."""
        return (self.key_reference or "").startswith(BLOCK_PREFIX)

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
        value = value.strip().rstrip("/")
        if not value.lower().startswith(("http://", "https://", "local:")):
            raise ValueError(
                f"endpoint {mask_address(value)!r} must start with http:// or https://"
            )
        return value


class Endpoint(Declaration):
    """One of several servers of a model. Fields that are not set default to those of the model."""

    base_url: Address | None = None
    """Base URL of the server. If it is set, `provider` only determines the wire format."""
    provider: str | None = None
    """Name of the provider."""
    model: str | None = None
    """ID of the model on this server."""
    api_key_env_var: KeyVariable | None = None
    """Name of the environment variable that holds the API key for this server."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the requests relative to the other endpoints; default: 1."""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        return _clean_base_url(value)

    @field_validator("api_key_env_var")
    @classmethod
    def _key_needs_trust(cls, name: str | None) -> str | None:
        return _check_key_variable(name)


class ModelConfig(Declaration):
    """A model and the alias by which columns refer to it."""

    alias: str = Field(min_length=1)
    """Name by which columns refer to the model."""
    model: str
    """ID of the model at the provider."""
    inference_parameters: InferenceParameters = Field(default_factory=ChatCompletionInferenceParams)
    """Sampling parameters, request limits and timeout."""
    provider: str | None = None
    """Name of the provider; default: the first registered one."""
    skip_health_check: bool = False
    """Whether to skip the readiness check of this model before a run; default: no."""
    structured_output: Annotated[Literal["auto", "provider", "prompt"], OWN] = "auto"
    """How to make responses follow a JSON schema. `auto` (default) asks the server to enforce the
    schema, until the server rejects this. `provider` always asks the server to enforce it. `prompt`
    only describes the schema in the prompt."""
    base_url: Annotated[Address | None, OWN] = None
    """Base URL for this model only. If it is set, `provider` only determines the wire format."""
    api_key_env_var: Annotated[KeyVariable | None, OWN] = None
    """Name of the environment variable that holds the API key for this model only."""
    endpoints: Annotated[list[Endpoint] | None, OWN] = Field(default=None, min_length=1)
    """Servers that share the requests. A server that keeps failing is paused and retried later."""
    price: Annotated[Price | None, OWN] = None
    """Price of the model's tokens. Without it, costs are reported as unknown."""
    fallback: Annotated[str | None, OWN] = None
    """Alias of the model to use instead if no server offers this one any longer (status 404)."""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        return _clean_base_url(value)

    @field_validator("api_key_env_var")
    @classmethod
    def _key_needs_trust(cls, name: str | None) -> str | None:
        return _check_key_variable(name)

    @property
    def draws_by_chat(self) -> bool:
        """Whether images are generated through chat completions, not through the images route."""
        return not any(part in self.model.lower() for part in _IMAGE_ROUTE)

    def at_endpoints(self) -> list[tuple[ModelConfig, float]]:
        """The model as each of its endpoints serves it, with that endpoint's weight."""
        if self.endpoints is None:
            return [(self, 1.0)]
        served: list[tuple[ModelConfig, float]] = []
        for endpoint in self.endpoints:
            overrides = endpoint.model_dump(exclude={"weight"}, exclude_none=True)
            served.append((self.changed(**overrides, endpoints=None), endpoint.weight))
        return served

    @property
    def generation_type(self) -> GenerationType:
        """What the model generates."""
        return GenerationType(self.inference_parameters.generation_type)

    def identity(self) -> dict[str, Any]:
        """The fields that determine what the model answers, for the fingerprint."""
        return {
            "model": self.model,
            "provider": self.provider,
            "parameters": self.inference_parameters.identity(),
        }
