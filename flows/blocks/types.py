"""Prefect block types for what configurations should not contain: keys and storage credentials.

A server in whose environment the package is installed registers the types when it starts. On
other servers, `prefect block register -m prefect_data_designer` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from pydantic import Field, SecretStr, field_validator

from dd_core.declaration.secrets import BLOCK_PREFIX
from dd_core.errors import ArtifactStorageError
from dd_core.models.config import ModelProvider
from dd_core.models.tools.config import MCPProvider
from dd_core.redaction.rules import mask_address, mask_fields
from dd_core.storage.location import is_remote

BlockReference = Annotated[str, Field(json_schema_extra={"pattern": f"^{BLOCK_PREFIX}."})]
"""A reference to a block. The schema refuses other text, which may be a key."""
_REFERENCE = re.compile(r"(?:(?P<type>[^/\s]+)/)?(?P<name>[^/\s]+)(?://(?P<below>.*))?")


def parse_block_reference(reference: str) -> tuple[str | None, str, str] | None:
    """Type, name and path of a reference `block:<type>/<name>//<path>`; None if it is not one.

    The type is None if the reference does not contain it; the path is empty if there is none.
    """
    found = _REFERENCE.fullmatch(reference.removeprefix(BLOCK_PREFIX))
    if found is None or not reference.startswith(BLOCK_PREFIX):
        return None
    return found["type"], found["name"], found["below"] or ""


def _require_no_key(value: str | dict[str, Any] | None, headers: str) -> None:
    masked = mask_address(value) if isinstance(value, str) else mask_fields(value)
    if masked != value:
        raise ValueError(
            f"contains a key; use api_key or {headers}, which Prefect encrypts and does not show "
            "in events"
        )


class DataDesignerProvider(Block):
    """Model server with its API key. Use it with `model_providers=["block:<name>"]`."""

    _block_type_name = "Data Designer Provider"
    _block_type_slug = "data-designer-provider"
    _code_example = """
        ```python
        from prefect_data_designer import generate_dataset

        await generate_dataset("reviews.yaml", model_providers=["block:my-provider"])
        ```
    """

    endpoint: str = Field(description="Base URL, for example https://api.openai.com/v1.")
    provider_type: str = Field(default="openai", description="Wire format: openai or anthropic.")
    api_key: SecretStr | None = Field(default=None, description="API key (the key itself).")
    extra_headers: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Headers that are added to every request.",
    )
    extra_body: dict[str, Any] | None = Field(
        default=None, description="Fields that are added to the body of every request."
    )

    @field_validator("provider_type")
    @classmethod
    def _check_provider_type(cls, value: str) -> str:
        return ModelProvider(name="-", endpoint="https://-", provider_type=value).provider_type

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        _require_no_key(value, "extra_headers")
        return ModelProvider(name="-", endpoint=value).endpoint

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        _require_no_key(value, "extra_headers")
        return value

    def list_secrets(self, reference: str) -> dict[str, str]:
        """The key, by the reference that stands for it."""
        return {} if self.api_key is None else {reference: self.api_key.get_secret_value()}

    def provider(self, name: str, reference: str) -> ModelProvider:
        """The provider under this name, with a reference in place of the key."""
        headers = {key: str(value) for key, value in self.extra_headers.get_secret_value().items()}
        return ModelProvider(
            name=name,
            endpoint=self.endpoint,
            provider_type=self.provider_type,
            api_key=SecretStr(reference) if self.api_key is not None else None,
            extra_headers=headers or None,
            extra_body=self.extra_body,
        )


class DataDesignerToolServer(Block):
    """Tool server with its API key. Use it with `mcp_providers=["block:<name>"]`."""

    _block_type_name = "Data Designer Tool Server"
    _block_type_slug = "data-designer-tool-server"
    _code_example = """
        ```python
        from prefect_data_designer import generate_dataset

        await generate_dataset("questions.yaml", mcp_providers=["block:my-tools"])
        ```
    """

    endpoint: str = Field(description="URL, for example https://search.example.com/mcp.")
    provider_type: Literal["streamable_http", "sse"] = Field(description="Protocol of the server.")
    api_key: SecretStr | None = Field(
        default=None, description="Key that is sent as a bearer token (the key itself)."
    )
    headers: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Headers that are added to every request.",
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        _require_no_key(value, "headers")
        return value

    def list_secrets(self, reference: str) -> dict[str, str]:
        """The key and the headers, by the references that stand for them."""
        headers = self.headers.get_secret_value()
        secrets = {f"{reference}/{name}": str(value) for name, value in headers.items()}
        if self.api_key is not None:
            secrets[reference] = self.api_key.get_secret_value()
        return secrets

    def provider(self, name: str, reference: str) -> MCPProvider:
        """The tool server under this name, with references in place of the key and the headers."""
        return MCPProvider(
            name=name,
            endpoint=self.endpoint,
            provider_type=self.provider_type,
            api_key=SecretStr(reference) if self.api_key is not None else None,
            headers={each: f"{reference}/{each}" for each in self.headers.get_secret_value()},
        )


class DatasetStorage(Block):
    """Storage for datasets, with its credentials. Use it with `artifact_path="block:<name>"`.

    It cannot store Prefect results. For those, use one of Prefect's storage blocks.
    """

    _block_type_name = "Data Designer Storage"
    _block_type_slug = "data-designer-storage"
    _code_example = """
        ```python
        from prefect_data_designer import generate_dataset

        await generate_dataset("reviews.yaml", artifact_path="block:my-storage")
        ```
    """

    url: str = Field(description="URL, for example s3://bucket/datasets, or an absolute path.")
    options: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Options of the fsspec file system, such as key, secret and endpoint_url.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        require_shared_address(value)
        return value


def require_shared_address(address: str) -> None:
    """Raise unless the address means the same in every process and contains no password."""
    if is_remote(address) and "@" in urlsplit(address).netloc:
        raise ArtifactStorageError(
            "the address of a storage must not contain a user or a password, because it appears in "
            "logs; put them into the options of the block"
        )
    path = address.removeprefix("file://").removeprefix("local://")
    if not is_remote(address) and not Path(path).expanduser().is_absolute():
        raise ArtifactStorageError(
            f"the address {address!r} of a storage is relative; use an absolute path or an address "
            "such as s3://bucket/datasets"
        )
