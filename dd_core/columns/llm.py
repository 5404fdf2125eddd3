"""What the columns written by a language model share: prompt, messages, conversation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from dd_core.column import (
    Binding,
    CellColumn,
    Column,
    Row,
    Scope,
    template_references,
    unknown_reference,
)
from dd_core.errors import Problem
from dd_core.models.chat import Exchange, Message, converse
from dd_core.models.model import Seat
from dd_core.template import Template, references


class TraceType(StrEnum):
    """How much of the conversation is kept beside the value."""

    NONE = "none"
    LAST_MESSAGE = "last_message"
    ALL_MESSAGES = "all_messages"


class LLMColumn(Column):
    """Untagged base: a prompt, the model that answers it, and how its answer is read."""

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
    multi_modal_context: list[dict[str, Any]] | None = Field(default=None, max_length=0)
    """Reserved: images, audio and video are not supported yet."""
    tool_alias: str | None = Field(default=None, max_length=0)
    """Reserved: tools are not supported yet."""

    @field_validator("prompt", "system_prompt")
    @classmethod
    def _compiles(cls, source: str | None) -> str | None:
        if source:
            references(source)
        return source

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompts refer to."""
        names = template_references(self.prompt) + template_references(self.system_prompt)
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
            for name in scope.unknown(template_references(getattr(self, field))):
                yield unknown_reference(f"columns.{self.name}.{field}", name, scope)
        place = f"columns.{self.name}.prompt"
        if not template_references(self.prompt):
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
    def exchange(self) -> Exchange:
        """How an answer becomes a value."""

    def instructions(self) -> str:
        """What is appended to the prompt, after a blank line."""
        return ""

    def bind(self, binding: Binding) -> CellColumn:
        """The generator that asks the model once a row."""
        return ChatCells(self, binding)


class ChatCells(CellColumn):
    """Asks a model for one cell at a time."""

    def __init__(self, column: LLMColumn, binding: Binding) -> None:
        run_config = binding.run_config
        engine = run_config.jinja_rendering_engine.value
        self.model = binding.models[column.model_alias]
        self._model = self.model
        self._column = column
        self._prompt = Template.compile(column.prompt, engine=engine)
        self._system = (
            Template.compile(column.system_prompt, engine=engine) if column.system_prompt else None
        )
        appended = column.instructions()
        self._appended = f"\n\n{appended}" if appended else ""
        exchange = column.exchange()
        self._exchange = Exchange(
            parse=exchange.parse,
            schema=exchange.schema,
            max_restarts=run_config.max_conversation_restarts,
            max_corrections=run_config.max_conversation_correction_steps,
        )

    async def generate(self, row: Row, seat: Seat | None) -> Mapping[str, Any]:
        """The value, and trace and reasoning where they are wanted."""
        column = self._column
        opening: list[Message] = []
        if self._system is not None:
            opening.append({"role": "system", "content": self._system.render(row)})
        opening.append({"role": "user", "content": self._prompt.render(row) + self._appended})
        talk = await converse(
            self._model, seat or Seat(self._model), column.name, opening, self._exchange
        )
        values: dict[str, Any] = {column.name: talk.value}
        if column.with_trace is TraceType.ALL_MESSAGES:
            values[f"{column.name}__trace"] = [_traced(message) for message in talk.messages]
        elif column.with_trace is TraceType.LAST_MESSAGE:
            values[f"{column.name}__trace"] = [_traced(talk.messages[-1])]
        if column.extract_reasoning_content:
            reasoning = (talk.messages[-1].get("reasoning_content") or "").strip()
            values[f"{column.name}__reasoning_content"] = reasoning or None
        return values


def _traced(message: Message) -> Message:
    return message | {"content": [{"type": "text", "text": message["content"]}]}
