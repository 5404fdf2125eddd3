"""Resolves the server and the API key of a model; loads default providers and models."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.request import getproxies

from pydantic import SecretStr

from dd_core.declaration.kind import find_repeated
from dd_core.declaration.secrets import SecretResolver, default_resolver
from dd_core.declaration.yaml_text import load_yaml_file
from dd_core.errors import (
    DataDesignerError,
    InvalidConfigError,
    Problem,
    SecretResolutionError,
    UnknownProviderError,
    convert_errors,
)
from dd_core.models.address import parse_address
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.redaction.registry import register_secrets
from dd_core.redaction.rules import WRITTEN_MASK, Secrets, is_masked

_T = TypeVar("_T")


@cache
def get_built_in_providers() -> tuple[ModelProvider, ...]:
    """The providers that need no declaration; created on first use, because that takes time."""

    def remote(name: str, endpoint: str, key: str) -> ModelProvider:
        return ModelProvider(name=name, endpoint=endpoint, api_key=SecretStr(key))

    return (
        remote("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        remote("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        remote("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    )


@cache
def get_local_provider() -> ModelProvider:
    """The provider of the embedded model on this machine."""
    return ModelProvider(name="local", endpoint="local:smollm2", provider_type="local")


def get_home_directory() -> Path:
    """The directory with the user's default providers and models."""
    return Path(os.environ.get("DATA_DESIGNER_HOME") or Path.home() / ".data-designer")


def get_managed_assets() -> Path:
    """The folder of managed datasets: that of the environment, or one in the home directory."""
    given = os.environ.get("DATA_DESIGNER_MANAGED_ASSETS_PATH")
    folder = Path(given).expanduser() if given else get_home_directory() / "managed-assets"
    return folder.absolute()


def load_default_providers() -> list[ModelProvider]:
    """Load the providers in the user's `model_providers.yaml`; default: the built-in ones."""
    loaded = load_home_list("model_providers.yaml", "providers", ModelProvider.model_validate)
    return [*get_built_in_providers()] if loaded is None else loaded


def load_home_list(file: str, key: str, parse: Callable[[Any], _T]) -> list[_T] | None:
    """Load the list under a key of one of the user's YAML files; None if the file is missing."""
    path = get_home_directory() / file
    if not path.is_file():
        return None
    with convert_errors(InvalidConfigError, f"{str(path)!r} is not valid"):
        loaded: Any = load_yaml_file(path) or {}
        listed: Any = loaded.get(key, []) if isinstance(loaded, dict) else None  # pyright: ignore
        if not isinstance(listed, list):
            raise InvalidConfigError(f"{str(path)!r} has no top-level list `{key}`; add it")
        return [parse(item) for item in cast("list[Any]", listed)]


class AddressError(DataDesignerError):
    """A base URL cannot be used. The message begins with the field that holds it."""


@dataclass(frozen=True)
class Upstream:
    """The server of one model, and what each request to it needs."""

    provider: str
    url: str
    wire: str
    key: SecretStr | None
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str]

    def collect_secrets(self) -> Secrets:
        """What the server receives and must not show up anywhere, as servers may quote it."""
        found = Secrets()
        if self.key is not None:
            found.add_secret(self.key.get_secret_value())
        found.add_headers(self.extra_headers)
        found.add_fields(self.extra_body)
        found.add_address(self.url)
        for proxy in getproxies().values():
            found.add_address(proxy)
        return found


class Providers:
    """The registered providers by name."""

    def __init__(
        self,
        providers: Sequence[ModelProvider] | None = None,
        resolver: SecretResolver | None = None,
        tool_providers: Sequence[Any] = (),
    ) -> None:
        self.resolver = resolver
        self.tool_providers = [*tool_providers]
        """Servers of tools."""
        given = load_default_providers() if providers is None else [*providers]
        if repeated := find_repeated(provider.name for provider in given):
            raise InvalidConfigError(
                [
                    Problem(
                        "model_providers",
                        f"two providers have the name {repeated[0]!r}; rename one",
                    )
                ]
            )
        self._default = given[0].name if given else None
        self._by_name = {provider.name: provider for provider in [get_local_provider(), *given]}
        for provider in get_built_in_providers():
            self._by_name.setdefault(provider.name, provider)

    def all(self) -> list[ModelProvider]:
        """All providers, including the built-in ones."""
        return [*self._by_name.values()]

    @property
    def names(self) -> list[str]:
        """The names of all providers, sorted."""
        return sorted(self._by_name)

    def name_for(self, model: ModelConfig) -> str | None:
        """The name of a model's provider, whether it is known or not."""
        return model.provider or ("openai" if model.base_url else self._default)

    def provider_of(self, model: ModelConfig) -> ModelProvider:
        """The provider of a model; raises `UnknownProviderError`."""
        name = self.name_for(model)
        if name is None or name not in self._by_name:
            known = ", ".join(repr(known) for known in sorted(self._by_name))
            raise UnknownProviderError(
                f"model {model.alias!r} refers to unknown provider {name!r}; "
                f"use one of {known}, or register it"
            )
        return self._by_name[name]

    def problem(self, model: ModelConfig) -> Problem | None:
        """A problem with the provider or the API key of a model; None if there is none."""
        try:
            for served, _ in model.at_endpoints():
                self.upstream(served)
        except AddressError as error:
            field = "base_url" if model.base_url or model.endpoints else "provider"
            return Problem(f"model_configs.{model.alias}.{field}", str(error))
        except UnknownProviderError as error:
            return Problem(f"model_configs.{model.alias}.provider", str(error))
        except SecretResolutionError as error:
            field = "api_key_env_var" if model.api_key_env_var else "provider"
            return Problem(f"model_configs.{model.alias}.{field}", str(error))
        return None

    def upstream(self, model: ModelConfig) -> Upstream:
        """The server of a model; raises if the provider is unknown or the key is missing.

        Its secrets are registered, so that nothing shows them from now on.
        """
        provider = self.provider_of(model)
        check_headers(provider.extra_headers, "extra_headers", f"provider {provider.name!r}")
        _check_bodies(provider, model)
        url = model.base_url or provider.endpoint
        if provider.provider_type != "local":
            _check_address(url, "base_url" if model.base_url else "endpoint")
        upstream = Upstream(
            provider=provider.name,
            url=url,
            wire=provider.provider_type,
            key=_key(model, provider, self.resolver),
            extra_body=provider.extra_body or {},
            extra_headers=(provider.extra_headers or {}) if _same_host(model, provider) else {},
        )
        register_secrets(upstream.collect_secrets())
        return upstream


def _key(
    model: ModelConfig, provider: ModelProvider, resolver: SecretResolver | None
) -> SecretStr | None:
    if model.api_key_env_var:
        value = os.environ.get(model.api_key_env_var)
        if not value:
            raise SecretResolutionError(
                f"api_key_env_var refers to environment variable {model.api_key_env_var!r}, "
                "which is not set; set it or remove the field"
            )
        variable = f"environment variable {model.api_key_env_var!r}"
        return SecretStr(strip_key(value, f"the key in {variable}"))
    if provider.api_key is None or not _same_host(model, provider):
        return None  # never send the key of a provider to another host
    owner = f"the key of provider {provider.name!r}"
    try:
        key = (resolver or default_resolver).resolve(provider.api_key.get_secret_value())
    except SecretResolutionError as error:
        raise SecretResolutionError(f"{owner}: {error}") from None
    return SecretStr(strip_key(key, owner))


def strip_key(key: str, owner: str) -> str:
    """The key without white space around it; raises if an HTTP header cannot hold it."""
    cleaned = key.strip().strip("\ufeff").strip()
    if not cleaned:
        raise SecretResolutionError(f"{owner} is blank; set it")
    for position, letter in enumerate(cleaned, 1):
        if not " " <= letter <= "~":
            raise SecretResolutionError(
                f"{owner} contains {_describe(letter)} at position {position} of {len(cleaned)}, "
                "which an HTTP header cannot hold; copy the key again"
            )
    return cleaned


def check_headers(headers: Mapping[str, str] | None, field: str, owner: str) -> None:
    """Raise if a header cannot be sent. Never quotes a value."""
    for name, value in (headers or {}).items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise SecretResolutionError(
                f"{field} of {owner} contain a name that HTTP does not "
                f"allow, {name!r}; use letters, digits and hyphens"
            )
        if found := re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise SecretResolutionError(
                f"header {name!r} of {owner} contains {_describe(found[0])}, "
                "which an HTTP header cannot hold; remove it"
            )


def _check_bodies(provider: ModelProvider, model: ModelConfig) -> None:
    """Raise if a key is missing, because the configuration was written and read again."""
    places = {
        f"extra_headers of provider {provider.name!r} contain": provider.extra_headers,
        f"extra_body of provider {provider.name!r} contains": provider.extra_body,
        "extra_body contains": model.inference_parameters.extra_body,
    }
    for place, value in places.items():
        if is_masked(value):
            raise SecretResolutionError(
                f"{place} {WRITTEN_MASK} in place of a key, which is left out when a configuration "
                "is written; use the original configuration, or move the field to a provider"
            )


def _describe(letter: str) -> str:
    if letter in "\r\n":
        return "a line break"
    return "a control character" if letter < " " or letter == "\x7f" else "a character beyond ASCII"


def _check_address(url: str, field: str) -> None:
    try:
        parse_address(url)
    except ValueError as error:
        raise AddressError(f"{field} {error}") from None


def _same_host(model: ModelConfig, provider: ModelProvider) -> bool:
    """Whether the model is at the address of its provider, and not without its encryption."""
    if model.base_url is None:
        return True
    try:
        own, expected = parse_address(model.base_url), parse_address(provider.endpoint)
    except ValueError:
        return False
    is_downgrade = expected.base.startswith("https:") and not own.base.startswith("https:")
    return own.host == expected.host and not is_downgrade


_NO_THINKING = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
_MEDIUM = {"extra_body": {"reasoning_effort": "medium"}}
_NANO = "nvidia/nemotron-3-nano-30b-a3b"
_OMNI = "nvidia/nemotron-3-nano-omni-30b-a3b-reasoning"

_BUILT_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "nvidia-text": (
        "nvidia/nemotron-3.5-lightning-30b-a3b",
        {"temperature": 1.0, "top_p": 0.95, **_NO_THINKING},
    ),
    "nvidia-reasoning": (
        "nvidia/nemotron-3-super-120b-a12b",
        {"temperature": 1.0, "top_p": 0.95, **_MEDIUM},
    ),
    "nvidia-vision": (_OMNI, {"temperature": 0.60, "top_p": 0.95}),
    "nvidia-embedding": (
        "nvidia/nemotron-3-embed-1b",
        {"encoding_format": "float", "extra_body": {"input_type": "query"}},
    ),
    "openai-text": ("gpt-4.1", {"temperature": 0.85, "top_p": 0.95}),
    "openai-reasoning": ("gpt-5", _MEDIUM),
    "openai-vision": ("gpt-5", _MEDIUM),
    "openai-embedding": ("text-embedding-3-large", {"encoding_format": "float"}),
    "openrouter-text": (_NANO, {"temperature": 1.0, "top_p": 1.0}),
    "openrouter-reasoning": ("openai/gpt-oss-20b", {"temperature": 0.35, "top_p": 0.95}),
    "openrouter-vision": (f"{_OMNI}:free", {"temperature": 0.60, "top_p": 0.95}),
    "openrouter-embedding": ("openai/text-embedding-3-large", {"encoding_format": "float"}),
}


def load_default_models() -> list[ModelConfig]:
    """Load the models in the user's `model_configs.yaml`; default: the built-in ones."""
    loaded = load_home_list("model_configs.yaml", "model_configs", ModelConfig.model_validate)
    if loaded is not None:
        return loaded
    return [
        ModelConfig.model_validate(
            {
                "alias": alias,
                "model": model,
                "provider": alias.split("-")[0],
                "inference_parameters": parameters,
            }
        )
        for alias, (model, parameters) in _BUILT_IN.items()
    ]
