"""Uploads datasets to the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.declaration.secrets import default_resolver
from dd_core.declaration.yaml_text import dump_yaml
from dd_core.errors import ArtifactStorageError, DataDesignerError
from dd_core.redaction.registry import register_secret
from dd_core.storage.directory import CONFIG, METADATA, DatasetDirectory
from dd_core.storage.files.parquet import require_readable
from dd_core.storage.location import Location, list_paths, parse_location

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi


_TAGS = ("synthetic", "datadesigner")
# `datasets` takes a configuration of the name "default" for one more default.
_OWN_PATHS = {"data", "default", "images", "readme.md", CONFIG, METADATA, ".gitattributes"}
_UPLOADED = re.compile(
    r"[^/]+/batch_\d{5,}\.parquet"  # rows, and tables of processors
    r"|images/[^/]+/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\w+"
)
"""Paths of files that only an upload of ours creates."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


class HuggingFaceHubClient:
    """A client of the Hugging Face Hub.

    `token` is a token or the name of the environment variable that holds it; default: the token in
    `HF_TOKEN` or of the machine's login. `endpoint` is the URL of the hub; default: that of the
    environment.
    """

    def __init__(self, token: str | None = None, endpoint: str | None = None) -> None:
        self._token = token
        self._endpoint = endpoint
        # Called on a client, it uses the client's token and endpoint.
        self.push_to_hub_from_folder = partial(  # pyright: ignore[reportAttributeAccessIssue]
            type(self).push_to_hub_from_folder, token=token, endpoint=endpoint
        )

    @classmethod
    def push_to_hub_from_folder(
        cls,
        dataset_path: str | Location,
        repo_id: str,
        description: str,
        *,
        token: str | None = None,
        private: bool = False,
        tags: Sequence[str] | None = None,
        endpoint: str | None = None,
    ) -> str:
        """Like `upload_dataset`, without a client."""
        client = cls(token, endpoint)
        return client.upload_dataset(repo_id, dataset_path, description, private=private, tags=tags)

    @property
    def has_token(self) -> bool:
        """Whether the client was given a token."""
        return self._token is not None

    def upload_dataset(
        self,
        repo_id: str,
        base_dataset_path: str | Location,
        description: str,
        *,
        private: bool = False,
        tags: Sequence[str] | None = None,
    ) -> str:
        """Upload a dataset's folder in one commit; returns the URL of the repository.

        Rows go to `data/`, images to `images/`, and tables that processors made to folders with the
        processors' names. Files of an earlier upload that the dataset no longer has are removed;
        other files in the repository stay. Raises `ArtifactStorageError` if there is nothing to
        upload or the hub rejects the upload.
        """
        directory = DatasetDirectory(parse_location(base_dataset_path))
        tables = [directory.processor_files_of(name) for name in directory.processor_files()]
        if not (files := directory.files()):
            raise ArtifactStorageError(f"{base_dataset_path} has no rows to upload")
        for path in chain(files, *tables):
            require_readable(path)
        if repo_id.count("/") != 1 or not all(repo_id.split("/")):
            raise ArtifactStorageError(f"repo_id {repo_id!r} must have the form <user>/<name>")
        api = self._api()
        uploads: list[CommitOperationAdd | CommitOperationDelete]
        uploads = [*_uploads(directory, format_card(directory, repo_id, description, tags))]
        from httpx import HTTPError
        from huggingface_hub.errors import HfHubHTTPError

        try:
            url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            there = api.list_repo_files(repo_id, repo_type="dataset")
            uploads += _list_leftovers(there, {each.path_in_repo for each in uploads})
            message = f"Upload {directory.count_rows():,} records"
            api.create_commit(repo_id, uploads, commit_message=message, repo_type="dataset")
        except (HfHubHTTPError, HTTPError, ValueError) as error:
            raise ArtifactStorageError(f"the upload to {repo_id!r} failed: {error}") from error
        return str(url)

    def _api(self) -> HfApi:
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise ArtifactStorageError(
                "uploads to Hugging Face require huggingface-hub; "
                "install prefect-data-designer[hub]"
            ) from None
        try:
            token = default_resolver.resolve(self._token) if self._token else None
            register_secret(token or "")
        except DataDesignerError as error:
            raise ArtifactStorageError(f"token: {error}") from None
        return HfApi(endpoint=self._endpoint, token=token)


def _uploads(directory: DatasetDirectory, readme: str) -> Iterator[CommitOperationAdd]:
    from huggingface_hub import CommitOperationAdd

    def file(path: Location, place: str) -> CommitOperationAdd:
        content = path if isinstance(path, Path) else path.read_bytes()
        return CommitOperationAdd(place, content)

    yield CommitOperationAdd("README.md", readme.encode())
    names: dict[str, list[str]] = {"data": []}
    for path in directory.files():
        names["data"].append(f"data/{path.name}")
        yield file(path, f"data/{path.name}")
    for folder in list_paths(directory.path / "images", "*"):
        for path in list_paths(folder, "*"):
            yield file(path, f"images/{folder.name}/{path.name}")
    tables = directory.processor_files()
    for name, folder in _choose_folders(tables).items():
        names[folder] = [f"{folder}/{path.name}" for path in tables[name]]
        for path in tables[name]:
            yield file(path, f"{folder}/{path.name}")
    yield file(directory.path / CONFIG, CONFIG)
    metadata = {**directory.metadata.to_json(), "file_paths": names}
    for private in ("flow_runs", "answered_at", "processed", "parts_folder"):
        metadata.pop(private, None)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    yield CommitOperationAdd("metadata.json", orjson.dumps(metadata, option=options))


def _choose_folders(names: Iterable[str]) -> dict[str, str]:
    """The folders of processors' tables by name: the name, unless another file has this path."""
    names = [*names]
    taken = {*_OWN_PATHS, *(name.lower() for name in names)}
    folders: dict[str, str] = {}
    for name in names:
        folder = re.sub(r"[\[\]]", "_", name)  # brackets have a meaning in patterns
        if folder != name or name.lower() in _OWN_PATHS:
            folder = f"{folder}-processor"
            while folder.lower() in taken:
                folder += "-1"
            taken.add(folder.lower())
        folders[name] = folder
    return folders


def _list_leftovers(there: Iterable[str], uploaded: Collection[str]) -> list[CommitOperationDelete]:
    """Deletions of the files that an earlier upload left and this one does not replace."""
    from huggingface_hub import CommitOperationDelete

    return [
        CommitOperationDelete(path)
        for path in there
        if path not in uploaded and _UPLOADED.fullmatch(path)
    ]


def _describe_files(name: str, folder: str) -> Mapping[str, Any]:
    """A configuration of the card: its name, and the files of its only split."""
    files = [{"split": "train", "path": f"{folder}/*.parquet"}]
    return {"config_name": name, "data_files": files}


def format_card(
    directory: DatasetDirectory, repo_id: str, description: str, tags: Sequence[str] | None = None
) -> str:
    """Format a dataset's README: metadata for the hub, and a description for readers."""
    rows = directory.count_rows()
    size = next((name for most, name in _SIZES if rows < most), "1M<n<10M")
    configs: list[Mapping[str, Any]] = [{**_describe_files("data", "data"), "default": True}]
    configs += [
        _describe_files(folder, folder)
        for folder in _choose_folders(directory.processor_files()).values()
    ]
    head = {
        "tags": [*dict.fromkeys([*_TAGS, *(tags or ())])],
        "size_categories": [size],
        "configs": configs,
    }
    schema: Any = next(directory.tables()).schema
    columns = "\n".join(f"| `{field.name}` | `{field.type}` |" for field in schema)
    return f"""---
{dump_yaml(head, sort_keys=False)}---
# {directory.metadata.dataset_name or repo_id.split("/")[1]}

{description}

{rows:,} synthetic records. `builder_config.json` is the configuration that generated them.

```python
from datasets import load_dataset

dataset = load_dataset("{repo_id}", "data", split="train")
```

| column | type |
|---|---|
{columns}
"""
