"""Whether SQL parses in a dialect."""

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
"""Statements that sqlglot keeps as text without being wrong about them."""

_COMPARISONS = frozenset(["EQ", "NEQ", "GT", "GTE", "LT", "LTE"])
_OPEN = _COMPARISONS | frozenset(
    ["ALIAS", "AND", "OR", "NOT", "SET", "WHERE", "HAVING", "ON", "LIKE", "BETWEEN", "GROUP_BY"]
    + ["ORDER_BY", "PARTITION_BY", "FROM", "JOIN", "INTO", "UNION", "EXCEPT", "INTERSECT"]
)
"""Tokens after which something must come."""
_CLOSING = frozenset(["SEMICOLON", "COMMA", "R_PAREN"])
_EMPTY_ITEMS = frozenset(
    [("COMMA", "COMMA"), ("L_PAREN", "COMMA"), ("SELECT", "COMMA"), ("COMMA", "R_PAREN")]
)


def check_sql(sources: Sequence[str], dialect: str, parser: str) -> list[dict[str, Any]]:
    """For each source `is_valid`, and `error_messages`, empty for valid SQL."""
    return [
        {"is_valid": not errors, "error_messages": "\n".join(errors)}
        for errors in _PARSERS[parser](sources, dialect)
    ]


def _by_sqlglot(sources: Sequence[str], dialect: str) -> list[list[str]]:
    return [_complaints(source, dialect) for source in sources]


def _by_sqlfluff(sources: Sequence[str], dialect: str) -> list[list[str]]:
    found = find_violations(sources, dialect)
    return [
        [_plain(each) for each in errors]
        or [each for each in _complaints(source, dialect) if "has no scale" in each]
        for source, errors in zip(sources, found, strict=True)
    ]


def _complaints(source: str, dialect: str) -> list[str]:
    import sqlglot
    from sqlglot import errors

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what we decide on
    known: Any = sqlglot.Dialect.get_or_raise(None if dialect == "ansi" else dialect)
    try:
        tokens: list[Any] = known.tokenize(source)
        parsed: list[Any] = known.parser().parse(tokens, source)
    except errors.SqlglotError as error:
        return [_plain(str(error))]
    except RecursionError:
        return ["it is nested too deeply"]
    statements = [each for each in parsed if each is not None]
    if not statements:
        return ["there is no statement"]
    found = [*_misplaced([(token.token_type.name, token.text) for token in tokens])]
    return found + [found for each in statements for found in _faults(each, dialect)]


def _misplaced(tokens: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What sqlglot passes over: words and signs with nothing where something must follow."""
    ended = [*tokens, ("SEMICOLON", "the end")]
    if tokens and tokens[0][0] in ("FROM", "TABLE"):
        yield f"a statement cannot begin with {tokens[0][1]}"
    for (before, text), (after, end) in pairwise(ended):
        if before in _OPEN and after in _CLOSING | {"FROM"} - {before}:
            yield f"nothing stands between {text!r} and {end!r}"
        elif (before, after) in _EMPTY_ITEMS:
            yield "a list has an empty item"
        elif before in _COMPARISONS and after in _COMPARISONS:
            yield f"{end!r} follows {text!r}"


def _faults(statement: Any, dialect: str) -> list[str]:
    from sqlglot import exp

    if isinstance(statement, exp.Command):
        word = str(statement.this).upper()
        return [] if word in _OPAQUE else [f"the {word} statement cannot be parsed"]
    found: list[str] = []
    if isinstance(statement, exp.Condition | exp.Alias | exp.Identifier) and not isinstance(
        statement, exp.Query
    ):
        found.append("it is an expression, not a statement")
    if dialect != "postgres":
        selects: list[Any] = [*statement.find_all(exp.Select)]
        found += ["a SELECT names no columns" for each in selects if not each.expressions]
    kinds: list[Any] = [*statement.find_all(exp.DataType)]
    return found + [
        f"{kind.sql()} has no scale; write DECIMAL(precision, scale)"
        for kind in kinds
        if kind.this == exp.DataType.Type.DECIMAL and len(kind.expressions) == 1
    ]


def _plain(text: str) -> str:
    return " ".join(text.replace("\x1b[4m", "").replace("\x1b[0m", "").split())


_PARSERS: dict[str, Callable[[Sequence[str], str], list[list[str]]]] = {
    "sqlglot": _by_sqlglot,
    "sqlfluff": _by_sqlfluff,
}
