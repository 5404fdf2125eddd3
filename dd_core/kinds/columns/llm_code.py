"""Code written by a language model."""

from __future__ import annotations

from typing import Any, Literal

from dd_core.kinds.code_lang import CodeLang
from dd_core.kinds.columns._answers import extract_code, write_code_instructions
from dd_core.kinds.columns._llm import LLMProseColumn
from dd_core.models.conversation import AnswerFormat


class LLMCodeColumnConfig(LLMProseColumn):
    """The last code block in `code_lang` in the model's response, without its fence."""

    column_type: Literal["llm-code"] = "llm-code"
    code_lang: CodeLang
    """Language of the code, for example `python` or `sql:postgres`."""

    @property
    def code_language(self) -> CodeLang | None:
        """Language of the values; None for lists of candidates."""
        return None if self.n is not None else self.code_lang

    def value_type(self) -> Any:
        """Return the type of text."""
        import pyarrow as pa

        return pa.string()

    def answer_format(self) -> AnswerFormat:
        """Return a format that requires a code block in this language."""
        language = CodeLang.parse_lang(self.code_lang)
        return AnswerFormat(
            lambda text: extract_code(text, language), on_truncated=self.on_truncated
        )

    def instructions(self) -> str:
        """Return instructions that ask for one code block."""
        return write_code_instructions(CodeLang.parse_lang(self.code_lang))
