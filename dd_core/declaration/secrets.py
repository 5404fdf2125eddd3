"""Resolves references to API keys."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from dd_core.errors import SecretResolutionError
from dd_core.redaction.rules import BLOCK_PREFIX, parse_key_reference


class SecretResolver(Protocol):
    """Resolves the `api_key` of a provider to the key."""

    def resolve(self, secret: str) -> str:
        """Return the key; raises `SecretResolutionError`, whose message never contains a key."""
        ...


class EnvironmentResolver:
    """Resolves names of environment variables."""

    def resolve(self, secret: str) -> str:
        """Return the value of the variable."""
        value = os.environ.get(secret)
        if not value:
            # Anything else may be a literal key, which must not appear in the message.
            is_name = secret.replace("_", "").isupper()
            variable = repr(secret) if is_name else "with that name"
            raise SecretResolutionError(f"the environment variable {variable} is not set; set it")
        return value


class PlaintextResolver:
    """Uses keys as they are."""

    def resolve(self, secret: str) -> str:
        """Return the key unchanged."""
        return secret


class SecretsFileResolver:
    """Resolves names with a JSON file that maps them to keys."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()

    def resolve(self, secret: str) -> str:
        """Return the value of the name."""
        try:
            known: Any = json.loads(self._path.read_text(encoding="utf-8"))
            value: Any = known.get(secret)
        except (OSError, ValueError, AttributeError) as error:
            raise SecretResolutionError(
                f"the secrets file {str(self._path)!r} cannot be read ({type(error).__name__}); "
                "check its path and that it contains a JSON object"
            ) from None
        if not isinstance(value, str) or not value:
            raise SecretResolutionError(
                f"the secrets file {str(self._path)!r} does not contain the configured name; add it"
            )
        return value


class CompositeResolver:
    """Tries several resolvers in order."""

    def __init__(self, resolvers: Sequence[SecretResolver]) -> None:
        self._resolvers = [*resolvers]

    def resolve(self, secret: str) -> str:
        """Return the key from the first resolver that knows it."""
        reasons: list[str] = []
        for resolver in self._resolvers:
            try:
                return resolver.resolve(secret)
            except SecretResolutionError as error:
                reasons.append(str(error))
        raise SecretResolutionError("no resolver found the key: " + "; ".join(reasons))


class DefaultResolver:
    """Resolves names of environment variables; uses any other text as the key."""

    def resolve(self, secret: str) -> str:
        """Return the key."""
        if secret.startswith(BLOCK_PREFIX):
            raise SecretResolutionError(
                f"{secret!r} refers to a Prefect block, which only flows can read; use an "
                "environment variable to run without Prefect"
            )
        if parse_key_reference(secret) is not None:
            return EnvironmentResolver().resolve(secret)
        return secret


default_resolver = DefaultResolver()


def resolve_variable(name: str, resolver: SecretResolver | None) -> str:
    """The value of the variable `${NAME}`, which is never a literal key."""
    if resolver is None or isinstance(resolver, DefaultResolver):
        return EnvironmentResolver().resolve(name)
    return resolver.resolve(name)
