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

    @staticmethod
    def parse(value: str) -> tuple[str, str | None]:
        """Split `sql:postgres` into language and dialect; other languages have no dialect."""
        language, _, dialect = str(value).partition(":")
        return language, dialect or None

    @staticmethod
    def parse_lang(value: str) -> str:
        """Language without its dialect, as it appears in code fences."""
        return CodeLang.parse(value)[0]

    @staticmethod
    def parse_dialect(value: str) -> str | None:
        """Dialect of SQL; None for other languages."""
        return CodeLang.parse(value)[1]

    @staticmethod
    def supported_values() -> set[str]:
        """All languages and dialects."""
        return {lang.value for lang in CodeLang}
