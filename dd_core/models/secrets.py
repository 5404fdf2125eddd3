"""Where API keys come from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from dd_core.errors import SecretResolutionError

BLOCK_PREFIX = "block:"
"""Begins a reference that names a Secret block of Prefect."""


def parse_key_reference(secret: str) -> str | None:
    """The text itself if it names a variable or a block; None for a literal key or nothing."""
    is_variable = secret.isupper() and "_" in secret
    return secret if is_variable or secret.startswith(BLOCK_PREFIX) else None


def mask_secret(secret: SecretStr | None) -> str | None:
    """A secret as it may be written: names of variables and blocks as they are, keys masked."""
    return None if secret is None else parse_key_reference(secret.get_secret_value()) or str(secret)


class SecretResolver(Protocol):
    """Turns what a configuration says of a key into the key."""

    def resolve(self, secret: str) -> str:
        """The key; raises `SecretResolutionError`, whose text never holds a key."""
        ...


class EnvironmentResolver:
    """Names of environment variables."""

    def resolve(self, secret: str) -> str:
        """The variable's value."""
        value = os.environ.get(secret)
        if not value:
            shown = repr(secret) if secret.replace("_", "").isupper() else "that"
            raise SecretResolutionError(f"no environment variable {shown} is set; set it")
        return value


class PlaintextResolver:
    """Keys as they are."""

    def resolve(self, secret: str) -> str:
        """The text itself."""
        return secret


class SecretsFileResolver:
    """Names in a JSON file of names and keys."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()

    def resolve(self, secret: str) -> str:
        """The value under that name."""
        try:
            known: Any = json.loads(self._path.read_text(encoding="utf-8"))
            value: Any = known.get(secret)
        except (OSError, ValueError, AttributeError) as error:
            raise SecretResolutionError(
                f"the secrets file {str(self._path)!r} cannot be read ({type(error).__name__})"
            ) from None
        if not isinstance(value, str) or not value:
            raise SecretResolutionError(f"the secrets file {str(self._path)!r} lacks that name")
        return value


class CompositeResolver:
    """Several resolvers; the first that knows the key gives it."""

    def __init__(self, resolvers: Sequence[SecretResolver]) -> None:
        self._resolvers = [*resolvers]

    def resolve(self, secret: str) -> str:
        """The key."""
        reasons: list[str] = []
        for resolver in self._resolvers:
            try:
                return resolver.resolve(secret)
            except SecretResolutionError as error:
                reasons.append(str(error))
        raise SecretResolutionError("no resolver knows the key: " + "; ".join(reasons))


class DefaultResolver:
    """Names of environment variables, else the key itself."""

    def resolve(self, secret: str) -> str:
        """The key."""
        if secret.startswith(BLOCK_PREFIX):
            raise SecretResolutionError(
                f"{secret!r} names a block of Prefect, which only flows can read; name an "
                "environment variable to run without Prefect"
            )
        if parse_key_reference(secret) is not None:
            return EnvironmentResolver().resolve(secret)
        return secret


default_resolver = DefaultResolver()
