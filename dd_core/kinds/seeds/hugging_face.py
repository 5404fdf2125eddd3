"""The `hf` seed source: the rows of files in a Hugging Face dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr, field_validator

from dd_core.declaration.secrets import default_resolver
from dd_core.declaration.trust import require_trust
from dd_core.declaration.written import Address, Key
from dd_core.errors import SecretResolutionError, SeedDatasetError
from dd_core.kinds.seeds._files import RemoteFiles, get_suffix, open_table
from dd_core.kinds.seeds._text import TextFileSource
from dd_core.kinds.seeds.seed import SeedTable

_HUB = "https://huggingface.co"


class HuggingFaceSeedSource(TextFileSource):
    """The rows of files in a dataset on Hugging Face, sorted by path."""

    seed_type: Literal["hf"] = "hf"
    path: str
    """Path of the files: `datasets/<user>/<repository>/<file>`, or `datasets/<repository>/<file>`
    for a dataset without a user name. The file may contain `*` and `**`. To read a specific
    revision, append `@<revision>` to the repository."""
    token: Key | None = None
    """Name of the environment variable with the token, for private datasets. A literal token works
    in Python, but it is masked when the configuration is saved."""
    endpoint: Address = _HUB
    """URL of the hub."""

    @field_validator("path")
    @classmethod
    def _names_files(cls, path: str) -> str:
        path = path.removeprefix("hf://")
        parts = path.split("/")
        if len(parts) < 3 or parts[0] != "datasets" or not all(parts) or ".." in parts:
            raise ValueError(
                f"path {path!r} must have the form datasets/<user>/<repository>/<file>, or "
                "datasets/<repository>/<file> for a dataset without a user"
            )
        get_suffix(path)
        return path

    @field_validator("token")
    @classmethod
    def _token_needs_trust(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None:
            require_trust("sends a token to the hub")
        return token

    @field_validator("endpoint")
    @classmethod
    def _hub_needs_trust(cls, endpoint: str) -> str:
        if endpoint != _HUB:
            require_trust(f"reads the hub at {endpoint!r}")
        return endpoint

    def open(self) -> SeedTable:
        """The table of the files. A process reads them once, as long as they do not change."""
        files = RemoteFiles(f"hf://{self.path}", self._token(), self.endpoint)
        return open_table(files, self.options)

    def _token(self) -> SecretStr | None:
        if self.token is None:
            return None
        try:
            return SecretStr(default_resolver.resolve(self.token.get_secret_value()))
        except SecretResolutionError as error:
            raise SeedDatasetError(f"seed_config.source.token: {error}") from None
