"""Code written by a language model."""

from __future__ import annotations

from typing import Literal

from dd_core.kinds.code_lang import CodeLang
from dd_core.kinds.columns._answers import extract_code, write_code_instructions
from dd_core.kinds.columns._llm import LLMColumn
from dd_core.models.conversation import AnswerFormat


class LLMCodeColumnConfig(LLMColumn):
    """The code of the answer's last block in the wanted language, without its fence."""

    column_type: Literal["llm-code"] = "llm-code"
    code_lang: CodeLang
    """Language, for example `python` or `sql:postgres`."""

    @property
    def code_language(self) -> CodeLang:
        """The language of the values."""
        return self.code_lang

    def answer_format(self) -> AnswerFormat:
        """An answer without a block in this language is asked for again."""
        language = self.code_lang.parse_lang
        return AnswerFormat(lambda text: extract_code(text, language))

    def instructions(self) -> str:
        """Ask for one block of code."""
        return write_code_instructions(self.code_lang.parse_lang)
