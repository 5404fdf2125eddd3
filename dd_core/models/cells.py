"""Generates the cells of a column that a chat model writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_core.column import Binding, CellColumn, Row
from dd_core.columns.llm import LLMColumn, TraceType
from dd_core.errors import DataDesignerError
from dd_core.media import media_blocks, media_folders
from dd_core.models.chat import Asking, ConversationLimits, Message, converse
from dd_core.models.seat import Seat
from dd_core.template import Template


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
        self._format = column.answer_format()
        self._contexts = column.multi_modal_context or []
        self._folders = media_folders(binding.folder)
        self._limits = ConversationLimits(
            restarts=run_config.max_conversation_restarts,
            corrections=run_config.max_conversation_correction_steps,
        )

    async def generate(self, row: Row, seat: Seat | None) -> Mapping[str, Any]:
        """The value, and trace and reasoning where they are wanted."""
        column = self._column
        opening: list[Message] = []
        if self._system is not None:
            opening.append({"role": "system", "content": self._system.render(row)})
        prompt = self._prompt.render(row) + self._appended
        media = media_blocks(self._contexts, row, self._folders)
        content = [*media, {"type": "text", "text": prompt}] if media else prompt
        opening.append({"role": "user", "content": content})
        asking = Asking(self._model, seat or Seat(self._model), column.name)
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
