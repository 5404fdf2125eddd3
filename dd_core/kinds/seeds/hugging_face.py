"""Seed rows from files of datasets on Hugging Face."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr, field_serializer, field_validator

from dd_core.errors import SecretResolutionError, SeedDatasetError
from dd_core.kinds.seeds._files import RemoteFiles, get_suffix, open_table
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.models.secrets import default_resolver, mask_secret


class HuggingFaceSeedSource(SeedSource):
    """Files of a dataset's repository, in order of their names."""

    seed_type: Literal["hf"] = "hf"
    path: str
    """`datasets/<user>/<repository>/<file>`, where the file may have `*` and `**`; a revision can
    follow the repository after an `@`."""
    token: SecretStr | None = None
    """Name of the environment variable with the token, for datasets that are not public. A literal
    token works from Python, but is masked wherever the configuration is written."""
    endpoint: str = "https://huggingface.co"
    """Address of the hub."""

    @field_validator("path")
    @classmethod
    def _names_files(cls, path: str) -> str:
        path = path.removeprefix("hf://")
        parts = path.split("/")
        if len(parts) < 4 or parts[0] != "datasets" or not all(parts) or ".." in parts:
            raise ValueError(
                f"path {path!r} must have the form datasets/<user>/<repository>/<file>"
            )
        get_suffix(path)
        return path

    @field_serializer("token")
    def _names_show_and_keys_do_not(self, value: SecretStr | None) -> str | None:
        return mask_secret(value)

    def open(self) -> SeedTable:
        """The table; it is read once a process for as long as the files do not change."""
        return open_table(RemoteFiles(f"hf://{self.path}", self._token(), self.endpoint))

    def _token(self) -> SecretStr | None:
        if self.token is None:
            return None
        try:
            return SecretStr(default_resolver.resolve(self.token.get_secret_value()))
        except SecretResolutionError as error:
            raise SeedDatasetError(f"seed_config.source.token: {error}") from None
