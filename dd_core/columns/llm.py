"""What the columns written by a language model share: prompt, messages, conversation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from dd_core.column import (
    Binding,
    CellColumn,
    Column,
    Scope,
    template_problems,
    template_references,
)
from dd_core.errors import Problem
from dd_core.media import MediaContexts, media_problems
from dd_core.response import AnswerFormat
from dd_core.template import references

if TYPE_CHECKING:
    from dd_core.statistics import ColumnStatistics, ColumnView


class TraceType(StrEnum):
    """How much of the conversation is kept beside the value."""

    NONE = "none"
    LAST_MESSAGE = "last_message"
    ALL_MESSAGES = "all_messages"


class LLMColumn(Column):
    """Untagged base: a prompt, the model that answers it, and how its answer is read."""

    answered_by: ClassVar[tuple[str, ...]] = ("chat-completion",)

    prompt: str = Field(min_length=1)
    """Jinja template of the user's message; `{{ name }}` stands for a column of the same row."""
    model_alias: str
    """Alias of the model that answers."""
    system_prompt: str | None = None
    """Jinja template of the system message."""
    with_trace: TraceType = TraceType.NONE
    """Keep the conversation in a column named `<name>__trace`."""
    extract_reasoning_content: bool = False
    """Keep the model's reasoning in a column named `<name>__reasoning_content`."""
    multi_modal_context: MediaContexts | None = None
    """Images, audio and video that the model is shown before the prompt."""
    tool_alias: str | None = None
    """Alias of tools that the model may call; not supported yet."""

    @field_validator("prompt", "system_prompt")
    @classmethod
    def _compiles(cls, source: str | None) -> str | None:
        if source:
            references(source)
        return source

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompts refer to, and those with media."""
        names = template_references(self.prompt) + template_references(self.system_prompt)
        names += [context.column_name for context in self.multi_modal_context or ()]
        return list(dict.fromkeys(names))

    @property
    def side_effect_columns(self) -> list[str]:
        """The trace and the reasoning, where they are kept."""
        names: list[str] = []
        if self.with_trace is not TraceType.NONE:
            names.append(f"{self.name}__trace")
        if self.extract_reasoning_content:
            names.append(f"{self.name}__reasoning_content")
        return names

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Unknown references are errors; prompts that look like a slip are warned of."""
        yield from super().problems(scope)
        for field in ("prompt", "system_prompt"):
            place = f"columns.{self.name}.{field}"
            yield from template_problems(place, getattr(self, field), scope)
        yield from media_problems(self.name, self.multi_modal_context, scope)
        if self.tool_alias is not None:
            message = "tools are not supported yet; remove it, or ask without tools"
            yield Problem(f"columns.{self.name}.tool_alias", message)
        place = f"columns.{self.name}.prompt"
        if not template_references(self.prompt) and not self.multi_modal_context:
            yield Problem(
                place,
                "refers to no column, so every row asks the same; "
                "write {{ name }} where a column's value belongs",
                level="warning",
            )
        for name in scope.names:
            if f"{{{name}}}" in self.prompt.replace("{{", "").replace("}}", ""):
                yield Problem(
                    place, f"has {{{name}}} in single braces; write {{{{ {name} }}}}", "warning"
                )

    @abstractmethod
    def answer_format(self) -> AnswerFormat:
        """How an answer becomes a value."""

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Tokens too."""
        from dd_core.statistics import LLMColumnStatistics

        tokens = view.tokens([self.prompt, *([self.system_prompt] if self.system_prompt else [])])
        return LLMColumnStatistics(**view.general(), **tokens)

    def instructions(self) -> str:
        """What is appended to the prompt, after a blank line."""
        return ""

    def bind(self, binding: Binding) -> CellColumn:
        """The generator that asks the model once a row."""
        from dd_core.models.cells import ChatCells  # loads the HTTP client

        return ChatCells(self, binding)
