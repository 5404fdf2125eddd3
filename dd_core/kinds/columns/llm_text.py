"""Text written by a language model."""

from __future__ import annotations

from typing import Literal

from dd_core.kinds.columns._llm import LLMColumn
from dd_core.models.conversation import AnswerFormat


class LLMTextColumnConfig(LLMColumn):
    """Text as the model wrote it, without surrounding whitespace."""

    column_type: Literal["llm-text"] = "llm-text"

    def answer_format(self) -> AnswerFormat:
        """Return a format that accepts every answer."""
        return AnswerFormat(parse=str)
