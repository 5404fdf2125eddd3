"""What the columns written by a language model share: prompt, messages, conversation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from dd_core.errors import DataDesignerError, Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.media import MediaContexts, build_blocks, check_media, list_media_folders
from dd_core.kinds.scope import Scope, check_template, find_references
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import AnswerFormat, Asking, Message, converse
from dd_core.templates.template import Template, list_references

if TYPE_CHECKING:
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView


class TraceType(StrEnum):
    """How much of the conversation is kept beside the value."""

    NONE = "none"
    LAST_MESSAGE = "last_message"
    ALL_MESSAGES = "all_messages"


class LLMColumn(Column):
    """Untagged base: a prompt, the model that answers it, and how its answer is read."""

    model_types: ClassVar[tuple[str, ...]] = ("chat-completion",)

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
            list_references(source)
        return source

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompts refer to, and those with media."""
        names = find_references(self.prompt) + find_references(self.system_prompt)
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
            yield from check_template(place, getattr(self, field), scope)
        yield from check_media(self.name, self.multi_modal_context, scope)
        if self.tool_alias is not None:
            message = "tools are not supported yet; remove it, or ask without tools"
            yield Problem(f"columns.{self.name}.tool_alias", message)
        place = f"columns.{self.name}.prompt"
        if not find_references(self.prompt) and not self.multi_modal_context:
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
        from dd_core.kinds.statistics import LLMColumnStatistics

        tokens = view.tokens([self.prompt, *([self.system_prompt] if self.system_prompt else [])])
        return LLMColumnStatistics(**view.general(), **tokens)

    def instructions(self) -> str:
        """What is appended to the prompt, after a blank line."""
        return ""

    def bind(self, binding: Binding) -> CellColumn:
        """The generator that asks the model once a row."""

        return ChatCells(self, binding)


class ChatCells(CellColumn):
    """Asks a model for one cell at a time."""

    def __init__(self, column: LLMColumn, binding: Binding) -> None:
        engine = binding.rendering
        self.model = binding.models[column.model_alias]
        self._model = self.model
        self._column = column
        self._prompt = Template.compile(column.prompt, engine=engine)
        self._system = (
            Template.compile(column.system_prompt, engine=engine) if column.system_prompt else None
        )
        appended = column.instructions()
        self._appended = f"\n\n{appended}" if appended else ""
        self._format = column.answer_format()
        self._contexts = column.multi_modal_context or []
        self._folders = list_media_folders(binding.folder)
        self._limits = binding.conversation

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """The value, and trace and reasoning where they are wanted."""
        column = self._column
        opening: list[Message] = []
        if self._system is not None:
            opening.append({"role": "system", "content": self._system.render(row)})
        prompt = self._prompt.render(row) + self._appended
        media = build_blocks(self._contexts, row, self._folders)
        content = [*media, {"type": "text", "text": prompt}] if media else prompt
        opening.append({"role": "user", "content": content})
        asking = Asking(self._model, slot or RequestSlot(self._model.queue), column.name)
        try:
            talk = await converse(asking, opening, self._format, self._limits)
        except DataDesignerError as error:
            error.prompt = prompt
            raise
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
    content: Any = message["content"]
    blocks: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return message | {"content": blocks}
