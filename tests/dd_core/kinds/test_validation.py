"""Validation columns: verdicts on code, of functions and of servers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from benchmarks.sql_corpus import VALID, broken
from dd_core import DataDesigner, InvalidConfigError
from dd_core.kinds.validators._python import lint
from dd_core.kinds.validators._sql import check_sql
from tests.serving import serving


def rows(values: list[Any], **column: Any) -> list[dict[str, Any]]:
    """A dataset of the values in `x`, doubled in `y`, with a validation column `v`."""
    made = dd.DataDesignerConfigBuilder([])
    frame = pd.DataFrame({"x": values, "y": [f"{value}{value}" for value in values]})
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    made.add_column(name="v", column_type="validation", **{"target_columns": ["x"], **column})
    settings = dd.RunConfig(disable_early_shutdown=True)
    found = DataDesigner(run_config=settings).preview(made, num_records=len(values))
    return found.records()


def verdicts(values: list[Any], **column: Any) -> list[Any]:
    return [row["v"]["is_valid"] for row in rows(values, **column)]


PYTHON: dict[str, tuple[str, bool, str]] = {
    "clean": ("def f(x):\n    return x + 1\n", True, "none"),
    "syntax": ("def f(:\n", False, "fatal"),
    "undefined name": ("print(y)\n", False, "error"),
    "unused variable": ("def f():\n    x = 1\n", False, "error"),
    "style": ("x = 1 if True else 2\nif x == 1: y = 2\n", True, "refactor"),
    "global": ("def f():\n    global X\n    X = 1\n", True, "warning"),
    "empty": ("", True, "none"),
}


@pytest.mark.parametrize("name", PYTHON)
def test_python_is_judged_by_the_worst_message(name: str) -> None:
    source, is_valid, severity = PYTHON[name]
    [found] = lint([source])
    assert (found["is_valid"], found["python_linter_severity"]) == (is_valid, severity)
    assert 0.0 <= found["python_linter_score"] <= 10.0
    if severity == "none":
        assert found["python_linter_score"] == 10.0
        assert found["python_linter_messages"] == []
    if severity == "fatal":
        assert found["python_linter_score"] == 0.0


def test_messages_say_where_and_the_score_counts_statements() -> None:
    [found] = lint(["a = 1\nb = 2\nc = 3\nd = 4\nprint(e)\n"])
    [message] = found["python_linter_messages"]
    assert (message["symbol"], message["line"], message["type"]) == ("F821", 5, "error")
    assert found["python_linter_score"] == 10.0 - 10.0 * 5 / 5


def test_every_row_has_the_verdict_on_its_own_code() -> None:
    sources = [f"print({'x' if number % 3 else number})\n" for number in range(300)]
    assert [each["is_valid"] for each in lint(sources)] == [n % 3 == 0 for n in range(300)]


SQL: list[tuple[str, str, bool]] = [
    ("ansi", "SELECT a, b FROM t WHERE a > 1", True),
    ("ansi", "SELEC a FROM t", False),
    ("ansi", "SELECT a FROM", False),
    ("ansi", "SELECT FROM t", False),
    ("ansi", "SELECT a b c FROM t", False),
    ("ansi", "hello", False),
    ("ansi", "CREATE TABLE t (a DECIMAL(10, 2))", True),
    ("ansi", "CREATE TABLE t (a DECIMAL(10))", False),
    ("ansi", "WITH x AS (SELECT 1 AS a) SELECT a FROM x", True),
    ("ansi", "SELECT (1", False),
    ("ansi", "INSERT INTO t (a) VALUES (1)", True),
    ("ansi", "UPDATE t SET a = 1 WHERE b = 2", True),
    ("sqlite", "SELECT strftime('%Y', d) FROM t LIMIT 5 OFFSET 2", True),
    ("sqlite", "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY AUTOINCREMENT)", True),
    ("postgres", "SELECT a::int FROM t WHERE b ILIKE '%x%'", True),
    ("postgres", "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC", True),
    ("mysql", "SELECT `a` FROM `t` LIMIT 1, 2", True),
    ("bigquery", "SELECT * EXCEPT (a) FROM `p.d.t`", True),
    ("tsql", "SELECT TOP 5 [a] FROM [dbo].[t]", True),
    ("tsql", "SELECT TOP FROM WHERE", False),
]


@pytest.mark.parametrize(("dialect", "source", "is_valid"), SQL)
def test_sql_is_valid_if_it_parses_in_its_dialect(
    dialect: str, source: str, is_valid: bool
) -> None:
    (found,) = check_sql([source], dialect, "sqlglot")
    assert found["is_valid"] is is_valid, found
    assert bool(found["error_messages"]) is not is_valid


@pytest.mark.slow
def test_sqlfluff_comes_to_the_same_verdicts() -> None:
    asked: dict[str, list[tuple[str, bool]]] = {}
    for dialect, source, is_valid in SQL:
        if source not in ("hello", "SELECT TOP FROM WHERE"):
            asked.setdefault(dialect, []).append((source, is_valid))
    for dialect, pairs in asked.items():
        found = check_sql([source for source, _ in pairs], dialect, "sqlfluff")
        assert [each["is_valid"] for each in found] == [verdict for _, verdict in pairs]
    assert "sqlfluff" not in sys.modules  # it breaks isinstance(x, ABC) where it is imported


@pytest.mark.slow
def test_both_parsers_mostly_agree_on_statements_with_slips() -> None:
    slips = [*dict.fromkeys(broken(1, 8))]
    verdicts = [
        [each["is_valid"] for each in check_sql([*VALID, *slips], "ansi", parser)]
        for parser in ("sqlglot", "sqlfluff")
    ]
    assert all(verdicts[0][: len(VALID)])
    assert all(verdicts[1][: len(VALID)])
    same = sum(a == b for a, b in zip(*verdicts, strict=True))
    assert same / len(verdicts[0]) > 0.9


def test_code_columns_are_validated_target_by_target() -> None:
    params = {"code_lang": "python"}
    assert verdicts(["x = 1\n", "x = (\n"], validator_type="code", validator_params=params) == [
        True,
        False,
    ]
    found = rows(
        ["1", "("],
        target_columns=["x", "y"],
        validator_type="code",
        validator_params=dd.CodeValidatorParams(code_lang=dd.CodeLang.PYTHON),
    )
    assert [{name: each["is_valid"] for name, each in row["v"].items()} for row in found] == [
        {"x": True, "y": True},
        {"x": False, "y": False},
    ]


def code_config(**params: Any) -> dd.DataDesignerConfigBuilder:
    model = dd.ModelConfig(alias="m", model="x", base_url="http://model.test/v1")
    made = dd.DataDesignerConfigBuilder([model])
    made.add_column(
        name="code", column_type="llm-code", model_alias="m", prompt="Go", code_lang="python"
    )
    return made.add_column(
        name="v",
        column_type="validation",
        validator_type="code",
        **{
            "target_columns": ["code"],
            "validator_params": {"code_lang": "python"},
            **params,
        },
    )


def test_mistakes_are_found_before_the_run() -> None:
    with pytest.raises(InvalidConfigError, match="target_columns: refers to unknown column 'cod'"):
        DataDesigner().validate(code_config(target_columns=["cod"]))
    other = {"code_lang": "sql:ansi"}
    with pytest.raises(InvalidConfigError, match="but column 'code' holds 'python'"):
        DataDesigner().validate(code_config(validator_params=other))
    with pytest.raises(ValidationError, match="'rust' cannot be checked"):
        code_config(validator_params={"code_lang": "rust"})
    with pytest.raises(ValidationError, match="validator_type is 'remote'"):
        dd.ValidationColumnConfig(
            name="v",
            target_columns=["x"],
            validator_type="remote",
            validator_params=dd.CodeValidatorParams(code_lang=dd.CodeLang.PYTHON),
        )


def test_a_config_with_validators_goes_through_files() -> None:
    config = code_config().build()
    assert dd.load_config(config.to_yaml() or "") == config
    written = config.to_dict()["columns"][1]
    assert written["validator_type"] == written["validator_params"]["validator_type"] == "code"


@dd.validation_function
def short(df: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"is_valid": df["x"].str.len() < 3, "length": df["x"].str.len()})


def test_a_function_judges_batches() -> None:
    found = rows(
        ["a", "abcd", "ab"],
        validator_type="local_callable",
        validator_params={"validation_function": short},
        batch_size=2,
    )
    assert [row["v"] for row in found] == [
        {"is_valid": True, "length": 1},
        {"is_valid": False, "length": 4},
        {"is_valid": True, "length": 2},
    ]
    named = {"validation_function": f"{__name__}:short"}
    assert verdicts(["a"], validator_type="local_callable", validator_params=named) == [True]


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda df: df, "must return a DataFrame with a column `is_valid`"),
        (lambda df: df["nothing"], "the validation function failed: KeyError"),
    ],
)
def test_a_function_that_fails_drops_its_rows_and_says_why(function: Any, complaint: str) -> None:
    params = {"validation_function": function}
    with pytest.raises(Exception, match=complaint):
        verdicts(["a"], validator_type="local_callable", validator_params=params)


def test_names_of_functions_that_judge_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="'os:getcwd' is not decorated"):
        dd.LocalCallableValidatorParams(validation_function="os:getcwd")


class Judge(BaseHTTPRequestHandler):
    """Even numbers are valid. The first `failures` requests get 503."""

    failures = 0
    sizes: list[int] = []

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
        if Judge.failures > 0:
            Judge.failures -= 1
            self.send_response(503)
            self.end_headers()
            return
        Judge.sizes.append(len(data))
        verdicts = [{"is_valid": int(row["x"]) % 2 == 0, "seen": row["x"]} for row in data]
        body = json.dumps({"data": verdicts}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def judge() -> Iterator[str]:
    Judge.failures, Judge.sizes = 0, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    with serving(server) as address:
        yield f"{address}/check"


def remote(url: str, **params: Any) -> dict[str, Any]:
    return {"validator_type": "remote", "validator_params": {"endpoint_url": url, **params}}


def test_a_server_judges_batches_and_is_asked_again_after_failures(judge: str) -> None:
    Judge.failures = 2
    found = verdicts([str(n) for n in range(25)], **remote(judge, retry_backoff=1.01))
    assert found == [n % 2 == 0 for n in range(25)]
    assert sorted(Judge.sizes) == [5, 10, 10]


@pytest.mark.parametrize("parallel", [1, 4])
def test_rows_that_a_server_cannot_judge_have_no_verdict(
    judge: str, parallel: int, caplog: pytest.LogCaptureFixture
) -> None:
    Judge.failures = 99
    params = remote(judge, max_retries=0, max_parallel_requests=parallel)
    assert verdicts(["1", "2"], **params) == [None, None]
    assert "2 rows could not be validated" in caplog.text


def test_verdicts_must_satisfy_the_schema(judge: str) -> None:
    fine = {"type": "object", "required": ["data"]}
    assert verdicts(["2"], **remote(judge, output_schema=fine)) == [True]
    assert verdicts(["2"], **remote(judge, output_schema={"type": "array"})) == [None]
