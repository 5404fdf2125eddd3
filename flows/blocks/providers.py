"""Loads API keys (`api_key: block:<name>`) and whole providers from Prefect blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prefect.blocks.system import Secret
from pydantic import SecretStr, ValidationError

from dd_core.dataset.config import DataDesignerConfig
from dd_core.declaration.secrets import BLOCK_PREFIX, SecretResolver, default_resolver
from dd_core.errors import DataDesignerGenerationError, SecretResolutionError
from dd_core.models.config import ModelProvider
from dd_core.models.providers import Providers, load_default_providers
from dd_core.redaction.registry import register_secret
from dd_core.redaction.rules import is_masked

from .types import DataDesignerProvider, parse_block_reference

_SLUG = DataDesignerProvider.get_block_type_slug()


class BlockResolver:
    """Resolves references to loaded blocks, and all other secrets with the default resolver."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def resolve(self, secret: str) -> str:
        """The value of a secret."""
        return self._values.get(secret) or default_resolver.resolve(secret)


async def load_providers(given: Sequence[ModelProvider | str] | None) -> Providers:
    """The providers, with blocks and their keys loaded; the default providers for None."""
    values: dict[str, str] = {}
    listed: list[ModelProvider] = []
    for each in load_default_providers() if given is None else given:
        if isinstance(each, str):
            listed.append(await _load_block(each, values))
            continue
        listed.append(each)
        if each.names_block and (reference := each.key_reference):
            name = reference.removeprefix(BLOCK_PREFIX)
            values[reference] = await _load_secret(name, each.name)
    return Providers(listed, BlockResolver(values))


def make_placeholder_providers(given: Sequence[ModelProvider | str] | None) -> Providers:
    """The providers without their blocks, to check configurations without a Prefect server."""
    listed = load_default_providers() if given is None else given
    known = [
        ModelProvider(name=_parse_name(each), endpoint="https://block.invalid")
        if isinstance(each, str)
        else each
        for each in listed
    ]
    placeholders = {
        each.key_reference or "": "(read by the flow)" for each in known if each.names_block
    }
    resolver: SecretResolver = BlockResolver(placeholders)
    return Providers(known, resolver)


def require_references(providers: Iterable[ModelProvider | str]) -> None:
    """Raise if a provider contains a key, because Prefect stores the parameters of flows."""
    for provider in providers:
        if isinstance(provider, str):
            _parse_name(provider)
            continue
        literal = provider.list_literal_keys()
        if "api_key" in literal:
            raise DataDesignerGenerationError(
                f"api_key of provider {provider.name!r} looks like a key, which Prefect would "
                "store in its database; use the name of an environment variable, such as "
                "'MY_API_KEY', or a reference to a block, such as 'block:my-key'"
            )
        if literal:
            raise DataDesignerGenerationError(
                f"{' and '.join(literal)} of provider {provider.name!r} may contain a key, which "
                "must not be a flow parameter, because Prefect stores parameters; put the server "
                "into a block of the type Data Designer Provider, and use 'block:<name>' in "
                "model_providers"
            )


def require_no_literal_keys(config: DataDesignerConfig) -> None:
    """Raise if a configuration contains keys, which are not written for other processes."""
    if is_masked(config.model_dump(mode="json", include={"model_configs", "seed_config"})):
        raise DataDesignerGenerationError(
            "a base_url, an extra_body or a path of the configuration contains a key, which is not "
            "written to storage, so batches_on cannot hand it to workers; move it to a provider "
            "block, and use 'block:<name>' in model_providers"
        )


def _parse_name(reference: str) -> str:
    """The name of the provider, which is the name of its block."""
    parsed = parse_block_reference(reference)
    if parsed is None or parsed[0] not in (None, _SLUG) or parsed[2]:
        # The message does not show the string, which may be a key.
        raise DataDesignerGenerationError(
            "a string in model_providers must be block:<name>, with the name of a block of the "
            "type Data Designer Provider"
        )
    return parsed[1]


async def _load_block(reference: str, values: dict[str, str]) -> ModelProvider:
    name = _parse_name(reference)
    block: Any = DataDesignerProvider
    try:
        loaded: DataDesignerProvider = await block.aload(name)
        key = f"{BLOCK_PREFIX}{_SLUG}/{name}"
        provider = loaded.provider(name, key)
    except ValidationError as error:  # its message may contain values of the block
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise SecretResolutionError(
            f"the provider block {_SLUG}/{name} is not valid; check its {fields}"
        ) from None
    except ValueError:
        raise SecretResolutionError(
            f"model_providers refers to the Prefect block {name!r}, which cannot be loaded; create "
            "a block of the type Data Designer Provider with that name"
        ) from None
    if isinstance(loaded.api_key, SecretStr):
        values[key] = loaded.api_key.get_secret_value()
        register_secret(values[key])
    return provider


async def _load_secret(name: str, provider: str) -> str:
    try:
        blocks: Any = Secret
        block: Any = await blocks.aload(name)
    except ValueError as error:
        raise SecretResolutionError(
            f"api_key of provider {provider!r} refers to the Prefect block {name!r}, which cannot "
            "be loaded; create a Secret block with that name"
        ) from error
    register_secret(str(block.get()))
    return str(block.get())
