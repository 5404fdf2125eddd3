"""What is kept in Prefect's blocks: keys (`api_key: block:<name>`), and whole providers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prefect.blocks.system import Secret
from pydantic import SecretStr, ValidationError

from dd_core.errors import DataDesignerGenerationError, SecretResolutionError
from dd_core.models.config import ModelProvider
from dd_core.models.providers import Providers, load_default_providers
from dd_core.models.secrets import BLOCK_PREFIX, SecretResolver, default_resolver

from .types import DataDesignerProvider, parse_block_reference

_SLUG = DataDesignerProvider.get_block_type_slug()


class BlockResolver:
    """Resolves the blocks that were loaded, and everything else as usual."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def resolve(self, secret: str) -> str:
        """The key."""
        return self._values.get(secret) or default_resolver.resolve(secret)


async def load_providers(given: Sequence[ModelProvider | str] | None) -> Providers:
    """The providers, those of blocks read and all keys at hand; the defaults for None."""
    values: dict[str, str] = {}
    listed: list[ModelProvider] = []
    for each in load_default_providers() if given is None else given:
        if isinstance(each, str):
            listed.append(await _from_block(each, values))
            continue
        listed.append(each)
        if each.names_block and (named := each.key_reference):
            values[named] = await _secret(named.removeprefix(BLOCK_PREFIX), each.name)
    return Providers(listed, BlockResolver(values))


def make_placeholder_providers(given: Sequence[ModelProvider | str] | None) -> Providers:
    """The providers as far as is known without a Prefect server, to check configurations with."""
    listed = load_default_providers() if given is None else given
    known = [
        ModelProvider(name=_name(each), endpoint="https://block.invalid")
        if isinstance(each, str)
        else each
        for each in listed
    ]
    unread = {each.key_reference or "": "(read by the flow)" for each in known if each.names_block}
    resolver: SecretResolver = BlockResolver(unread)
    return Providers(known, resolver)


def require_references(providers: Iterable[ModelProvider | str]) -> None:
    """Parameters are stored by Prefect, so keys must not be among them."""
    for provider in providers:
        if isinstance(provider, str):
            _name(provider)
        elif provider.api_key is not None and provider.key_reference is None:
            raise DataDesignerGenerationError(
                f"api_key of provider {provider.name!r} must name an environment variable, such "
                "as 'MY_API_KEY', or a block, as 'block:my-key': flow parameters are stored in "
                "Prefect's database"
            )


def _name(reference: str) -> str:
    """The provider's name, which is that of its block."""
    named = parse_block_reference(reference)
    if named is None or named[0] not in (None, _SLUG) or named[2]:
        # Not shown, for somebody may have given a key.
        raise DataDesignerGenerationError(
            "a provider among model_providers that is a text must be block:<name>, with the name "
            "of a block of the type Data Designer Provider"
        )
    return named[1]


async def _from_block(reference: str, values: dict[str, str]) -> ModelProvider:
    name = _name(reference)
    block: Any = DataDesignerProvider
    try:
        loaded: DataDesignerProvider = await block.aload(name)
        key = f"{BLOCK_PREFIX}{_SLUG}/{name}"
        provider = loaded.provider(name, key)
    except ValidationError as error:  # whose text may hold what is in the block
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise SecretResolutionError(
            f"the provider block {_SLUG}/{name} is not valid; see its {fields}"
        ) from None
    except ValueError:
        raise SecretResolutionError(
            f"model_providers names the Prefect block {name!r}, which cannot be loaded; save a "
            "block of the type Data Designer Provider under that name"
        ) from None
    if isinstance(loaded.api_key, SecretStr):
        values[key] = loaded.api_key.get_secret_value()
    return provider


async def _secret(name: str, provider: str) -> str:
    try:
        blocks: Any = Secret
        block: Any = await blocks.aload(name)
    except ValueError as error:
        raise SecretResolutionError(
            f"provider {provider!r} takes its key from the Prefect block {name!r}, which cannot "
            "be loaded; create a Secret block of that name"
        ) from error
    return str(block.get())
