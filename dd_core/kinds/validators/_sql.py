"""Checks whether SQL parses in a dialect, with sqlglot or SQLFluff.

sqlglot is made to transpile SQL, so it accepts some statements that no database accepts. The checks
in this module reject the most common ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from dd_core.kinds.validators._sqlfluff import find_violations

_OPAQUE = frozenset(
    ["ANALYZE", "CALL", "CHECKPOINT", "COMMENT", "COPY", "DECLARE", "DO", "EXEC", "EXECUTE"]
    + ["EXPLAIN", "GRANT", "KILL", "LOCK", "OPTIMIZE", "PRAGMA", "PREPARE", "PRINT", "REINDEX"]
    + ["RESET", "REVOKE", "SET", "SHOW", "USE", "VACUUM"]
)
"""Statements that sqlglot does not parse but that are valid; it keeps them as text."""

_COMPARISONS = frozenset(["EQ", "NEQ", "GT", "GTE", "LT", "LTE"])
_OPEN = _COMPARISONS | frozenset(
    ["ALIAS", "AND", "OR", "NOT", "SET", "WHERE", "HAVING", "ON", "LIKE", "BETWEEN", "GROUP_BY"]
    + ["ORDER_BY", "PARTITION_BY", "FROM", "JOIN", "INTO", "UNION", "EXCEPT", "INTERSECT"]
)
"""Tokens that something must follow."""
_CLOSING = frozenset(["SEMICOLON", "COMMA", "R_PAREN"])
_EMPTY_ITEMS = frozenset(
    [("COMMA", "COMMA"), ("L_PAREN", "COMMA"), ("SELECT", "COMMA"), ("COMMA", "R_PAREN")]
)
"""Pairs of adjacent tokens between which an item of a list is missing."""


def check_sql(sources: Sequence[str], dialect: str, parser: str) -> list[dict[str, Any]]:
    """Return a verdict for each source: `is_valid`, and `error_messages`, empty for valid SQL.

    `parser` is `sqlglot` or `sqlfluff`.
    """
    return [
        {"is_valid": not errors, "error_messages": "\n".join(errors)}
        for errors in _PARSERS[parser](sources, dialect)
    ]


def _check_with_sqlglot(sources: Sequence[str], dialect: str) -> list[list[str]]:
    return [_find_errors(source, dialect) for source in sources]


def _check_with_sqlfluff(sources: Sequence[str], dialect: str) -> list[list[str]]:
    found = find_violations(sources, dialect)
    # SQLFluff accepts DECIMAL(precision) without a scale, so that rule is checked with sqlglot.
    return [
        [_clean(each) for each in errors]
        or [each for each in _find_errors(source, dialect) if "has no scale" in each]
        for source, errors in zip(sources, found, strict=True)
    ]


def _find_errors(source: str, dialect: str) -> list[str]:
    import sqlglot
    from sqlglot import errors

    # sqlglot logs a warning for each statement that it keeps as text.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    known_dialect: Any = sqlglot.Dialect.get_or_raise(None if dialect == "ansi" else dialect)
    try:
        tokens: list[Any] = known_dialect.tokenize(source)
        parsed: list[Any] = known_dialect.parser().parse(tokens, source)
    except errors.SqlglotError as error:
        return [_clean(str(error))]
    except RecursionError:
        return ["the SQL is nested too deeply"]
    statements = [each for each in parsed if each is not None]
    if not statements:
        return ["there is no statement"]
    found = [*_check_tokens([(token.token_type.name, token.text) for token in tokens])]
    return found + [found for each in statements for found in _check_statement(each, dialect)]


def _check_tokens(tokens: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield errors that sqlglot tolerates: tokens that lack what must follow them.

    `tokens` are pairs of type and text.
    """
    terminated = [*tokens, ("SEMICOLON", "the end")]
    if tokens and tokens[0][0] in ("FROM", "TABLE"):
        yield f"a statement cannot begin with {tokens[0][1]}"
    for (before, text), (after, next_text) in pairwise(terminated):
        if before in _OPEN and after in _CLOSING | {"FROM"} - {before}:
            yield f"something is missing between {text!r} and {next_text!r}"
        elif (before, after) in _EMPTY_ITEMS:
            yield "a list has an empty item"
        elif before in _COMPARISONS and after in _COMPARISONS:
            yield f"{text!r} is followed by {next_text!r}"


def _check_statement(statement: Any, dialect: str) -> list[str]:
    """Return errors of a parsed statement that sqlglot tolerates."""
    from sqlglot import exp

    if isinstance(statement, exp.Command):
        word = str(statement.this).upper()
        return [] if word in _OPAQUE else [f"the {word} statement cannot be parsed"]
    found: list[str] = []
    if isinstance(statement, exp.Condition | exp.Alias | exp.Identifier) and not isinstance(
        statement, exp.Query
    ):
        found.append("this is an expression, not a statement")
    if dialect != "postgres":  # PostgreSQL permits a SELECT without columns
        selects: list[Any] = [*statement.find_all(exp.Select)]
        found += ["a SELECT has no columns" for each in selects if not each.expressions]
    kinds: list[Any] = [*statement.find_all(exp.DataType)]
    return found + [
        f"{kind.sql()} has no scale; write DECIMAL(precision, scale)"
        for kind in kinds
        if kind.this == exp.DataType.Type.DECIMAL and len(kind.expressions) == 1
    ]


def _clean(text: str) -> str:
    """Return a message on one line, without the underlining for terminals."""
    return " ".join(text.replace("\x1b[4m", "").replace("\x1b[0m", "").split())


_PARSERS: dict[str, Callable[[Sequence[str], str], list[list[str]]]] = {
    "sqlglot": _check_with_sqlglot,
    "sqlfluff": _check_with_sqlfluff,
}
