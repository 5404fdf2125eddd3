"""Validates code: Python with a linter, SQL with a parser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.code_lang import CodeLang
from dd_core.kinds.scope import Scope
from dd_core.kinds.validators._python import lint
from dd_core.kinds.validators._sql import check_sql
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict

_MAX_ROWS = 256
"""Rows per call. One process checks all of them, so few large calls are faster than many small."""


class CodeValidatorParams(ValidatorParams):
    """Checks Python with Ruff, and SQL with sqlglot or SQLFluff."""

    validator_type: Literal["code"] = "code"
    code_lang: CodeLang
    """Language of the code: `python`, or `sql:` followed by a dialect."""
    sql_parser: Annotated[Literal["sqlglot", "sqlfluff"], OWN] = "sqlglot"
    """Parser for SQL. `sqlfluff` is ten times slower, gives different verdicts in some cases and
    requires the extra `sqlfluff`."""

    @field_validator("code_lang")
    @classmethod
    def _can_be_checked(cls, language: CodeLang) -> CodeLang:
        if CodeLang.parse_lang(language) not in ("python", "sql"):
            raise ValueError(
                f"{language.value!r} cannot be checked; use 'python' or a dialect of SQL"
            )
        return language

    def problems(self, place: str, targets: Sequence[str], scope: Scope) -> Iterator[Problem]:
        """Yield a missing SQLFluff, and target columns without code of this language."""
        if self.sql_parser == "sqlfluff" and find_spec("sqlfluff") is None:
            yield Problem(
                f"{place}.validator_params.sql_parser",
                "requires SQLFluff; install prefect-data-designer[sqlfluff]",
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

    def verdict_type(self, targets: Sequence[str]) -> Any:
        """Return a struct of `is_valid` and the messages, for each target if there are several."""
        import pyarrow as pa

        text = pa.string()
        if CodeLang.parse_dialect(self.code_lang) is None:
            message = [("type", text), ("symbol", text), ("line", pa.int64())]
            message += [("column", pa.int64()), ("message", text)]
            own = [
                ("python_linter_score", pa.float64()),
                ("python_linter_severity", text),
                ("python_linter_messages", pa.list_(pa.struct(message))),
            ]
        else:
            own = [("error_messages", text)]
        verdict = pa.struct([("is_valid", pa.bool_()), *own])
        return (
            verdict
            if len(targets) == 1
            else pa.struct([(name, verdict) for name in dict.fromkeys(targets)])
        )

    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """Return the validator, which checks as many rows as are ready, whatever `batch_size`."""
        return _CodeValidator(self, targets)


class _CodeValidator(Validator):
    group_size = _MAX_ROWS

    def __init__(self, params: CodeValidatorParams, targets: Sequence[str]) -> None:
        self._params = params
        self._targets = targets

    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """Return one verdict per row; with several targets, `{target: verdict}` per row."""
        sources = [_to_source(row[target]) for row in rows for target in self._targets]
        verdicts = await asyncio.to_thread(self._check, sources)
        if len(self._targets) == 1:
            return [*verdicts]
        width = len(self._targets)
        return [
            dict(zip(self._targets, verdicts[at : at + width], strict=True))
            for at in range(0, len(verdicts), width)
        ]

    def _check(self, sources: Sequence[str]) -> list[dict[str, Any]]:
        dialect = CodeLang.parse_dialect(self._params.code_lang)
        if dialect is None:
            return lint(sources)
        return check_sql(sources, dialect, self._params.sql_parser)


def _to_source(value: Any) -> str:
    return "" if value is None else str(value)
