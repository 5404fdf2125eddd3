"""The contract of a validator: it says of rows whether they are valid, and why not.

A kind of validator lives in one file of `dd_core/validators/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from dd_core.declaration.kind import Kind
from dd_core.errors import Problem, ValidationColumnError
from dd_core.kinds.scope import Scope

Verdict: TypeAlias = Mapping[str, Any]
"""`is_valid` (True, False, or None when it could not be told) and what the kind adds."""


class ValidatorType(StrEnum):
    """Names of the validators that configurations written for NeMo Data Designer may use."""

    CODE = "code"
    LOCAL_CALLABLE = "local_callable"
    REMOTE = "remote"


class Validator(ABC):
    """Judges rows of the target columns."""

    group_size: int
    """Most rows that are judged at once."""
    max_parallel_groups: int = 2

    @abstractmethod
    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Verdict]:
        """One verdict a row, in order."""


class ValidatorParams(Kind, tag="validator_type"):
    """What every kind of validator has in common."""

    def problems(self, place: str, targets: Sequence[str], scope: Scope) -> Iterator[Problem]:
        """What is wrong with these parameters for these columns, found before a run."""
        yield from ()

    def identity(self) -> dict[str, Any]:
        """The part that determines the verdicts, for the fingerprint."""
        return self.model_dump(mode="json") | self.own_code

    @abstractmethod
    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """The validator of these columns."""


def require_schema(value: Any, schema: Mapping[str, Any]) -> None:
    """Raise `ValidationColumnError` if a value does not satisfy a JSON schema."""
    import jsonschema_rs

    errors = [*jsonschema_rs.validator_for({**schema}).iter_errors(value)]
    if errors:
        raise ValidationColumnError(
            f"the verdicts do not satisfy output_schema: {errors[0].message}"
        )
