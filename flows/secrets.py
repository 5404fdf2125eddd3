"""Keys that are kept in Prefect's blocks: `api_key: block:<name>` of a provider."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect.blocks.system import Secret

from dd_core.errors import DataDesignerGenerationError, SecretResolutionError
from dd_core.models.config import ModelProvider
from dd_core.models.secret import BLOCK_PREFIX, SecretResolver, default_resolver


class BlockResolver:
    """Resolves the blocks that were loaded, and everything else as usual."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def resolve(self, secret: str) -> str:
        """The key."""
        return self._values.get(secret) or default_resolver.resolve(secret)


async def resolver_of(providers: Iterable[ModelProvider]) -> SecretResolver:
    """A resolver that knows the secrets of the blocks that providers name."""
    values: dict[str, str] = {}
    for provider in providers:
        if provider.names_block and (named := provider.key_reference):
            values[named] = await _secret(named.removeprefix(BLOCK_PREFIX), provider.name)
    return BlockResolver(values)


def require_references(providers: Iterable[ModelProvider]) -> None:
    """Parameters are stored by Prefect, so keys must not be among them."""
    for provider in providers:
        if provider.api_key is not None and provider.key_reference is None:
            raise DataDesignerGenerationError(
                f"api_key of provider {provider.name!r} must name an environment variable, such "
                "as 'MY_API_KEY', or a block, as 'block:my-key': flow parameters are stored in "
                "Prefect's database"
            )


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
