"""The contract of a validator: it decides which rows are valid.

A kind of validator is a subclass of `ValidatorParams` in one module of `dd_core/kinds/validators/`,
or in your own code (see docs/own-kinds.md). Its fields are the fields of `validator_params` in
YAML, and its `bind` returns the `Validator` that does the work. `validation` columns use it; they
are in `dd_core/kinds/columns/validation.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from dd_core.declaration.kind import Kind
from dd_core.declaration.written import for_identity
from dd_core.errors import Problem, ValidationColumnError
from dd_core.kinds.scope import Scope

Verdict: TypeAlias = Mapping[str, Any]
"""`is_valid` (True, False, or None if it could not be determined) and fields that the kind adds."""


class ValidatorType(StrEnum):
    """Tags of the built-in kinds of validator."""

    CODE = "code"
    LOCAL_CALLABLE = "local_callable"
    REMOTE = "remote"


class Validator(ABC):
    """Validates rows of the target columns of one `validation` column."""

    group_size: int
    """Maximum number of rows per call."""
    max_parallel_groups: int = 2
    """Maximum number of calls per batch that run at the same time."""

    @abstractmethod
    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Verdict]:
        """Return one verdict per row, in order.

        Each row holds the values of the target columns by name. The method runs on the event loop,
        so blocking work belongs in a thread (`asyncio.to_thread`). If it raises an exception, all
        rows of the call are dropped and reported.
        """


class ValidatorParams(Kind, tag="validator_type"):
    """The base class of all kinds of validator.

    A kind must declare `validator_type` as a `Literal` with a single value, and implement `bind`.
    """

    def problems(self, place: str, targets: Sequence[str], scope: Scope) -> Iterator[Problem]:
        """Yield what is wrong with these parameters for these target columns, before a run.

        `place` is where the column is in the configuration, for example `columns.check`. The column
        itself reports targets that do not exist.
        """
        yield from ()

    def identity(self) -> dict[str, Any]:
        """Return the part of the parameters that determines the verdicts, as JSON types.

        It is part of the column's fingerprint: if it changes, rows are validated again. An override
        excludes fields that do not affect the verdicts, such as timeouts.
        """
        return self.model_dump(mode="json", context=for_identity) | self.own_code

    def verdict_type(self, targets: Sequence[str]) -> Any:
        """Return the Arrow type of the verdicts; None if it follows from the verdicts."""
        return None

    @abstractmethod
    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """Return the validator of these target columns.

        `batch_size` is the maximum number of rows per call that the user configured. The validator
        serves all batches of a run, so it must not keep state between calls.
        """


def require_schema(value: Any, schema: Mapping[str, Any]) -> None:
    """Raise `ValidationColumnError` if a value does not satisfy a JSON schema."""
    import jsonschema_rs

    errors = [*jsonschema_rs.validator_for({**schema}).iter_errors(value)]
    if errors:
        raise ValidationColumnError(
            f"the verdicts do not satisfy output_schema: {errors[0].message}"
        )
