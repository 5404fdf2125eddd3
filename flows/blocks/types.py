"""Blocks of Prefect that keep what configurations should not hold: keys and storage credentials.

`prefect block register -m flows` makes both types known to a server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from pydantic import Field, SecretStr, field_validator

from dd_core.errors import ArtifactStorageError
from dd_core.models.config import ModelProvider
from dd_core.models.secrets import BLOCK_PREFIX
from dd_core.storage.location import is_remote

_REFERENCE = re.compile(r"(?:(?P<type>[^/\s]+)/)?(?P<name>[^/\s]+)(?://(?P<below>.*))?")


def parse_block_reference(reference: str) -> tuple[str | None, str, str] | None:
    """Type, name and what follows `//` of `block:<type>/<name>//<path>`; None if it is not that."""
    found = _REFERENCE.fullmatch(reference.removeprefix(BLOCK_PREFIX))
    if found is None or not reference.startswith(BLOCK_PREFIX):
        return None
    return found["type"], found["name"], found["below"] or ""


class DataDesignerProvider(Block):
    """A server of models, with its key: `model_providers=["block:<name>"]`."""

    _block_type_name = "Data Designer Provider"
    _block_type_slug = "data-designer-provider"

    endpoint: str = Field(description="Base address, for example https://api.openai.com/v1.")
    provider_type: str = Field(default="openai", description="Wire format: openai or anthropic.")
    api_key: SecretStr | None = Field(default=None, description="The key itself.")
    extra_headers: SecretDict = Field(
        default_factory=lambda: SecretDict({}), description="Headers added to every request."
    )
    extra_body: dict[str, Any] | None = Field(
        default=None, description="Fields added to the body of every request."
    )

    @field_validator("provider_type")
    @classmethod
    def _supported(cls, value: str) -> str:
        return ModelProvider(name="-", endpoint="https://-", provider_type=value).provider_type

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return ModelProvider(name="-", endpoint=value).endpoint

    def provider(self, name: str, reference: str) -> ModelProvider:
        """The provider that models name; instead of the key it has a reference to it."""
        headers = {key: str(value) for key, value in self.extra_headers.get_secret_value().items()}
        return ModelProvider(
            name=name,
            endpoint=self.endpoint,
            provider_type=self.provider_type,
            api_key=SecretStr(reference) if self.api_key is not None else None,
            extra_headers=headers or None,
            extra_body=self.extra_body,
        )


class DatasetStorage(Block):
    """Where datasets are written, with what it takes to get there: `artifact_path="block:<name>"`.

    Not for Prefect's results: these take a storage block of Prefect's own.
    """

    _block_type_name = "Data Designer Storage"
    _block_type_slug = "data-designer-storage"

    url: str = Field(description="Address, such as s3://bucket/datasets, or an absolute path.")
    options: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Options of the fsspec filesystem, such as key, secret and endpoint_url.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        require_place(value)
        return value


def require_place(address: str) -> None:
    """Raise unless an address is the same place in every process and holds no password."""
    if is_remote(address) and "@" in urlsplit(address).netloc:
        raise ArtifactStorageError(
            "the address of a storage is shown in logs and must not name a user or a password; "
            "put them into the options of the block"
        )
    path = address.removeprefix("file://").removeprefix("local://")
    if not is_remote(address) and not Path(path).expanduser().is_absolute():
        raise ArtifactStorageError(
            f"the address {address!r} of a storage must be one such as s3://bucket/datasets, or an "
            "absolute path"
        )
