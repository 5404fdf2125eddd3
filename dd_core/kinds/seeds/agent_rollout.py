"""The `agent_rollout` seed source: one row per conversation of a coding agent."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import model_validator

from dd_core.declaration.trust import require_trust
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.seeds.directory import is_folder
from dd_core.kinds.seeds.rollouts.atif import Atif
from dd_core.kinds.seeds.rollouts.claude_code import ClaudeCode
from dd_core.kinds.seeds.rollouts.codex import Codex
from dd_core.kinds.seeds.rollouts.hermes_agent import HermesAgent
from dd_core.kinds.seeds.rollouts.pi_coding_agent import PiCodingAgent
from dd_core.kinds.seeds.rollouts.trace import MalformedRolloutError, Reader, Record, Trace
from dd_core.kinds.seeds.seed import SeedSource, SeedTable

_logger = logging.getLogger(__name__)
_MOST_SHOWN = 5
"""Skipped files that are named in the log."""


class AgentRolloutFormat(StrEnum):
    """Formats of session files."""

    ATIF = "atif"
    CLAUDE_CODE = "claude_code"
    CODEX = "codex"
    HERMES_AGENT = "hermes_agent"
    PI_CODING_AGENT = "pi_coding_agent"


_READERS: dict[AgentRolloutFormat, Reader] = {
    AgentRolloutFormat.ATIF: Atif(),
    AgentRolloutFormat.CLAUDE_CODE: ClaudeCode(),
    AgentRolloutFormat.CODEX: Codex(),
    AgentRolloutFormat.HERMES_AGENT: HermesAgent(),
    AgentRolloutFormat.PI_CODING_AGENT: PiCodingAgent(),
}


class AgentRolloutSeedSource(SeedSource):
    """Conversations of coding agents, with the same columns for all formats."""

    seed_type: Literal["agent_rollout"] = "agent_rollout"
    format: AgentRolloutFormat
    """Format of the session files: `atif`, `claude_code`, `codex`, `hermes_agent` or
    `pi_coding_agent`."""
    path: str | None = None
    """Folder with the session files, relative to the working directory; default: the folder in
    which the agent stores them."""
    file_pattern: str | None = None
    """Pattern for file names, with `*` and `?`; default: the pattern of the format."""
    recursive: bool = True
    """Whether to include files in subfolders; default: yes."""

    @model_validator(mode="before")
    @classmethod
    def _accept_paths(cls, given: Any) -> Any:
        require_trust("reads the conversations of coding agents on this machine")
        if isinstance(given, dict) and isinstance(given.get("path"), Path):  # pyright: ignore
            return {**given, "path": str(given["path"])}  # pyright: ignore
        return given  # pyright: ignore

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.path is None and self.reader.default_path is None:
            raise ValueError(f"path is required for the format {self.format.value!r}")
        if self.file_pattern is not None and (
            not self.file_pattern.strip() or {"/", "\\"} & {*self.file_pattern}
        ):
            raise ValueError(
                f"file_pattern {self.file_pattern!r} must be a pattern for file names, "
                "not empty and without a slash"
            )
        return self

    @property
    def reader(self) -> Reader:
        """The reader of the format."""
        return _READERS[self.format]

    @property
    def root(self) -> Path:
        """The folder with the session files."""
        return self.locate(self.path or self.reader.default_path or "").resolve()

    def problems(self, place: str) -> Iterator[Problem]:
        """A missing folder, or a folder without matching files."""
        if not is_folder(self.root):
            yield Problem(f"{place}.path", f"there is no folder {str(self.root)!r}; set path")
        elif not self.files():
            message = f"no {self.format.value} file in {str(self.root)!r} matches"
            yield Problem(f"{place}.file_pattern", f"{message} {self.resolved_file_pattern!r}")

    def resolve_paths(self) -> Self:
        """Return the source with an absolute path; the agent's own folder stays open."""
        if self.path is None:
            return self
        return self.model_copy(update={"path": str(self.locate(self.path))})

    @property
    def runtime_path(self) -> str:
        """The path as it was declared, or the folder in which the agent stores its sessions."""
        return self.path or str(Path(self.reader.default_path or "").expanduser())

    @property
    def resolved_file_pattern(self) -> str:
        """The pattern for file names, or the pattern of the format."""
        return self.file_pattern or self.reader.default_pattern

    def files(self) -> list[Path]:
        """The format's files, sorted by path; links that lead out of the folder are skipped."""
        return [path for path in self._matching() if self.reader.wants(path, self.root)]

    def _matching(self) -> list[Path]:
        root = self.root
        paths = root.rglob("*") if self.recursive else root.glob("*")
        return sorted(
            path
            for path in paths
            if fnmatchcase(path.name, self.resolved_file_pattern)
            and path.is_file()
            and path.resolve().is_relative_to(root)
        )

    def open(self) -> SeedTable:
        """The table of all conversations; malformed files are skipped with a warning."""
        rows: list[Record] = []
        files = self.files()
        others = sorted({*self._matching()} - {*files})
        if self.format is AgentRolloutFormat.HERMES_AGENT:  # which writes other JSON files, too
            others = [path for path in others if path.suffix != ".json"]
        if others:
            _logger.warning(
                "seed files that are no %s sessions are skipped: %s",
                self.format.value,
                ", ".join(repr(str(path)) for path in others[:_MOST_SHOWN]),
            )
        for path in files:
            rows += [trace.row(self.format.value, path) for trace in self._traces(path)]
        if not rows:
            raise SeedDatasetError(
                f"there is no readable rollout in {str(self.root)!r}; see the warnings in the log"
            )
        return _Rollouts(rows)

    def _traces(self, path: Path) -> list[Trace]:
        try:
            return self.reader.read(path, self.root)
        except MalformedRolloutError as error:
            _logger.warning("seed file %r is skipped: %s", str(path), error)
            return []
        except (AttributeError, TypeError) as error:  # a value has an unexpected type
            _logger.warning("seed file %r is skipped: %s", str(path), error)
            return []
        except OSError as error:
            raise SeedDatasetError(f"seed file {str(path)!r} cannot be read: {error}") from error


class _Rollouts(SeedTable):
    def __init__(self, rows: list[Record]) -> None:
        self.columns = [*rows[0]]
        self.num_rows = len(rows)
        self._rows = rows

    def take(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Values of one column at the given rows."""
        return [self._rows[row][column] for row in rows.tolist()]

    def content_hash(self) -> str:
        """Hash of the rows without the paths of the files."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self._rows:
            kept = {name: value for name, value in row.items() if name != "source_path"}
            digest.update(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS, default=str))
        return digest.hexdigest()
