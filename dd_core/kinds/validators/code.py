"""Whether code is valid: Python by a linter, SQL by a parser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import field_validator

from dd_core.errors import Problem
from dd_core.kinds.code_lang import CodeLang
from dd_core.kinds.scope import Scope
from dd_core.kinds.validators._python import lint
from dd_core.kinds.validators._sql import check_sql
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict

_MOST_AT_ONCE = 256


class CodeValidatorParams(ValidatorParams):
    """Python is checked with Ruff, SQL with sqlglot or SQLFluff."""

    validator_type: Literal["code"] = "code"
    code_lang: CodeLang
    """`python`, or `sql:` and a dialect."""
    sql_parser: Literal["sqlglot", "sqlfluff"] = "sqlglot"
    """`sqlfluff` is ten times slower and decides differently in places; it has its own process."""

    @field_validator("code_lang")
    @classmethod
    def _can_be_checked(cls, language: CodeLang) -> CodeLang:
        if language.parse_lang not in ("python", "sql"):
            raise ValueError(
                f"{language.value!r} cannot be checked; use python or a dialect of sql"
            )
        return language

    def problems(self, place: str, targets: Sequence[str], scope: Scope) -> Iterator[Problem]:
        """Targets should be code columns of the same language."""
        if self.sql_parser == "sqlfluff" and find_spec("sqlfluff") is None:
            yield Problem(
                f"{place}.validator_params.sql_parser",
                "needs SQLFluff; install prefect-data-designer[sqlfluff]",
            )
        for name in targets:
            language: CodeLang | None = getattr(scope.columns.get(name), "code_language", None)
            if language is None:
                message = f"{name!r} is not an llm-code column, so its values may not be code"
                yield Problem(f"{place}.target_columns", message, "warning")
            elif language != self.code_lang:
                yield Problem(
                    f"{place}.validator_params.code_lang",
                    f"is {self.code_lang.value!r}, but column {name!r} holds "
                    f"{language.value!r}; change one of them",
                )

    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """The validator; it takes as many rows at once as are ready, whatever `batch_size`."""
        return _Code(self, targets)


class _Code(Validator):
    group_size = _MOST_AT_ONCE

    def __init__(self, params: CodeValidatorParams, targets: Sequence[str]) -> None:
        self._params = params
        self._targets = targets

    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict for the only target, or one for each."""
        sources = [_source(row[target]) for row in rows for target in self._targets]
        verdicts = await asyncio.to_thread(self._judge, sources)
        if len(self._targets) == 1:
            return [*verdicts]
        width = len(self._targets)
        return [
            dict(zip(self._targets, verdicts[at : at + width], strict=True))
            for at in range(0, len(verdicts), width)
        ]

    def _judge(self, sources: Sequence[str]) -> list[dict[str, Any]]:
        dialect = self._params.code_lang.parse_dialect
        if dialect is None:
            return lint(sources)
        return check_sql(sources, dialect, self._params.sql_parser)


def _source(value: Any) -> str:
    return "" if value is None else str(value)
