"""Text written by a language model."""

from __future__ import annotations

from typing import Any, Literal

from dd_core.kinds.columns._llm import LLMProseColumn
from dd_core.models.conversation import AnswerFormat


class LLMTextColumnConfig(LLMProseColumn):
    """Text as the model wrote it, without surrounding whitespace."""

    column_type: Literal["llm-text"] = "llm-text"

    def value_type(self) -> Any:
        """Return the type of text."""
        import pyarrow as pa

        return pa.string()

    def answer_format(self) -> AnswerFormat:
        """Return a format that accepts every answer with text."""
        return AnswerFormat(parse=str, on_truncated=self.on_truncated)
