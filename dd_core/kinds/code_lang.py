"""Languages of code columns and of the validators that check them."""

from __future__ import annotations

from enum import StrEnum


class CodeLang(StrEnum):
    """A programming language, or a dialect of SQL in the form `sql:<dialect>`."""

    BASH = "bash"
    C = "c"
    COBOL = "cobol"
    CPP = "cpp"
    CSHARP = "csharp"
    GO = "go"
    JAVA = "java"
    JAVASCRIPT = "javascript"
    KOTLIN = "kotlin"
    PYTHON = "python"
    RUBY = "ruby"
    RUST = "rust"
    SCALA = "scala"
    SWIFT = "swift"
    TYPESCRIPT = "typescript"
    SQL_SQLITE = "sql:sqlite"
    SQL_TSQL = "sql:tsql"
    SQL_BIGQUERY = "sql:bigquery"
    SQL_MYSQL = "sql:mysql"
    SQL_POSTGRES = "sql:postgres"
    SQL_ANSI = "sql:ansi"

    @property
    def parse_lang(self) -> str:
        """Language without its dialect, as it appears in code fences."""
        return self.value.partition(":")[0]

    @property
    def parse_dialect(self) -> str | None:
        """Dialect of SQL; None for other languages."""
        return self.value.partition(":")[2] or None
