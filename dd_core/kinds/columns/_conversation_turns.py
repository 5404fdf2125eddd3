"""The turns of a conversation between models: a hidden column for each, and the transcript.

The value of a turn is `{messages, ends, tokens}`: the messages that its speaker added, whether the
conversation ends with them, and the tokens that they took.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field

from dd_core.declaration.kind import Declaration
from dd_core.kinds.columns._llm import ChatCells, LLMColumn, add_variables, list_message_fields
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row, RowColumn
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import AnswerFormat, Message, TruncationPolicy
from dd_core.models.wire.answers import Usage
from dd_core.templates.template import Condition, RenderingMode, Template

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable

MessageRole: TypeAlias = Literal["user", "assistant"]
VARIABLES = frozenset(["message", "messages", "speaker", "turn"])
"""Names that `stop_when` may use besides those of columns."""
TURNS_SUFFIX, TOKENS_SUFFIX = "__turns", "__tokens"

_STORED = ("role", "content", "tool_calls", "tool_call_id", "is_error")
"""Parts of messages that a speaker sees again in its later turns."""
_logger = logging.getLogger(__name__)


class Turn(Declaration):
    """The position of a turn in its conversation."""

    speakers: list[str] = Field(min_length=1)
    """Names of the roles that speak in the turns up to this one."""
    earlier: list[str]
    """Names of the columns with the turns before, in order."""
    reads: list[str]
    """Names of the columns that the templates of the conversation refer to."""
    stop_when: str | None
    """Condition under which the conversation ends; None if it goes on in any case."""
    end_mark: str | None
    """Text that ends the conversation; it is removed from the message."""
    is_group: bool
    """Whether there are more than two roles, so that messages begin with the speaker's name."""

    @property
    def required_columns(self) -> list[str]:
        """What the templates refer to, and the turns before."""
        return [*self.reads, *self.earlier]

    @property
    def facts(self) -> dict[str, Any]:
        """What the value depends on; the other columns are covered by their fingerprints."""
        return self.model_dump(mode="json", exclude={"earlier", "reads"})

    def list_turns(self, row: Row) -> Iterator[tuple[str, list[Message]]]:
        """Yield the speaker and the messages of each turn before."""
        for speaker, name in zip(self.speakers, self.earlier, strict=False):
            yield speaker, row[name]["messages"]

    def build_view(self, row: Row, start_prompt: str) -> list[Message]:
        """Return the conversation so far as its next speaker sees it.

        The speaker's own messages are those of the assistant. What the others said since is one
        message of the user, because many models require the two to alternate.
        """
        view: list[Message] = []
        heard: list[str] = []
        for speaker, messages in self.list_turns(row):
            if speaker != self.speakers[-1]:
                text: str = messages[-1]["content"]
                heard.append(f"{speaker}: {text}" if self.is_group else text)
                continue
            view += [*_tell(heard or [start_prompt]), *messages]
            heard = []
        return [*view, *_tell(heard or [start_prompt])]


def _tell(texts: Sequence[str]) -> list[Message]:
    return [{"role": "user", "content": "\n\n".join(texts)}]


class _TurnValues:
    """Builds the values of a turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._condition = Condition.compile(turn.stop_when) if turn.stop_when else None

    def build(self, row: Row, messages: list[Message], spent: Sequence[Usage]) -> dict[str, Any]:
        """Return the value for the messages that were added.

        A message that consists of the end mark is left out.
        """
        mark, ends = self._turn.end_mark, False
        text: str = messages[-1]["content"]
        if mark is not None and mark in text:
            ends = True
            text = text.replace(mark, "").strip()
            messages = [*messages[:-1], *([{**messages[-1], "content": text}] if text else [])]
        elif self._condition is not None:
            ends = self._holds(self._condition, row, messages)
        counts = {
            "input": sum(each.input_tokens for each in spent),
            "output": sum(each.output_tokens for each in spent),
        }
        return {"messages": messages, "ends": ends, "tokens": counts}

    def _holds(self, condition: Condition, row: Row, messages: list[Message]) -> bool:
        turns = [*self._turn.list_turns(row), (self._turn.speakers[-1], messages)]
        said = [{"name": name, "content": each[-1]["content"]} for name, each in turns]
        variables = {
            "message": said[-1]["content"],
            "messages": said,
            "speaker": said[-1]["name"],
            "turn": len(said),
        }
        try:
            return condition.holds(add_variables(row, variables))
        except Exception as error:  # whatever the operators of a value raise
            number = getattr(row, "number", "?")
            _logger.warning(
                "row %s: stop_when failed, so the conversation continues: %s", number, error
            )
            return False


class Opening(Column):
    """The first turn, if the configuration contains its text."""

    turn: Turn
    text: str
    """Jinja template of the message."""

    @property
    def required_columns(self) -> list[str]:
        """What the templates of the conversation refer to."""
        return self.turn.required_columns

    def identity(self) -> dict[str, Any]:
        """Return the declaration without the names of other columns."""
        return super().identity() | {"turn": self.turn.facts}

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator that renders the message."""
        return _Openings(self, binding.rendering)


class _Openings(RowColumn):
    def __init__(self, column: Opening, mode: RenderingMode) -> None:
        self._template = Template.compile(column.text, mode=mode)
        self._values = _TurnValues(column.turn)

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        """Return the turn of each row, or why there is none."""
        return [self._render(row) for row in rows]

    def _render(self, row: Row) -> Any:
        try:
            text = self._template.render(row)
        except Exception as error:  # the engine drops the row
            return error
        return self._values.build(row, [{"role": "assistant", "content": text}], [])


class ModelTurn(LLMColumn):
    """A turn that a model writes; `prompt` is the start prompt of the first role."""

    turn: Turn
    on_truncated: TruncationPolicy

    @property
    def required_columns(self) -> list[str]:
        """What the templates of the conversation refer to, and the turns before."""
        return self.turn.required_columns

    def identity(self) -> dict[str, Any]:
        """Return the declaration without the names of other columns."""
        return super().identity() | {"turn": self.turn.facts}

    def answer_format(self) -> AnswerFormat:
        """Return the format of a message, which may be any text."""
        return AnswerFormat(str, on_truncated=self.on_truncated)

    def bind(self, binding: Binding) -> CellColumn:
        """Return the generator that asks the model."""
        return _ModelTurns(self, binding)


class _ModelTurns(ChatCells):
    def __init__(self, column: ModelTurn, binding: Binding) -> None:
        super().__init__(column, binding)
        self._turn = column.turn
        self._values = _TurnValues(column.turn)

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the turn of one row."""
        view = [*self._render_system(row), *self._turn.build_view(row, self._render_prompt(row))]
        heard = view[-1]["content"]
        conversation = await self._converse(slot, view, heard, self._format)
        messages = [
            {name: message[name] for name in _STORED if name in message}
            for message in conversation.messages[len(view) :]
        ]
        value = self._values.build(row, messages, conversation.spent)
        return {self._column.name: value}


class Transcript(Column):
    """The messages of all turns, with the number of turns and the tokens of each role."""

    message_roles: dict[str, MessageRole]
    """By the name of a role, what its messages are to readers of the dataset."""
    speakers: list[str]
    turns: list[str]
    """Names of the columns with the turns, in order."""
    has_tools: bool

    @property
    def required_columns(self) -> list[str]:
        """The turns."""
        return self.turns

    @property
    def side_effect_columns(self) -> list[str]:
        """The columns with the number of turns and the tokens."""
        return [f"{self.name}{TURNS_SUFFIX}", f"{self.name}{TOKENS_SUFFIX}"]

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the types of the messages and of the side effects."""
        import pyarrow as pa

        role, *others = list_message_fields(pa.string(), has_tools=self.has_tools)
        message = pa.struct([role, ("name", pa.string()), *others])
        tokens = pa.struct([("input", pa.int64()), ("output", pa.int64())])
        by_role = pa.struct([(name, tokens) for name in self.message_roles])
        kinds = [pa.list_(message), pa.int64(), by_role]
        return dict(zip([self.name, *self.side_effect_columns], kinds, strict=True))

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator that puts the turns together."""
        return _Transcripts(self)


class _Transcripts(RowColumn):
    has_side_effects = True

    def __init__(self, column: Transcript) -> None:
        self._column = column

    def generate(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the messages and the side effects of each row."""
        return [self._build(row) for row in rows]

    def _build(self, row: Row) -> dict[str, Any]:
        column = self._column
        messages: list[Message] = []
        tokens = {name: {"input": 0, "output": 0} for name in column.message_roles}
        made = [row[name] for name in column.turns if row[name] is not None]
        for speaker, turn in zip(column.speakers, made, strict=False):
            messages += [self._write(speaker, each) for each in turn["messages"]]
            for kind, count in turn["tokens"].items():
                tokens[speaker][kind] += count
        turns_name, tokens_name = column.side_effect_columns
        count = sum(bool(turn["messages"]) for turn in made)
        return {column.name: messages, turns_name: count, tokens_name: tokens}

    def _write(self, speaker: str, message: Message) -> Message:
        """Return a message as datasets contain it: text, under the role that its reader expects."""
        text = _join_blocks(message["content"])
        if message["role"] == "tool":
            found = {"role": "tool", "content": text, "tool_call_id": message["tool_call_id"]}
        else:
            role = self._column.message_roles[speaker]
            found = {"role": role, "name": speaker, "content": text}
        calls = message.get("tool_calls")
        return found | {"tool_calls": calls} if calls else found


def _join_blocks(content: Any) -> str:
    """Return content as text; blocks with images and the like are only mentioned."""
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", f"[{block['type']}]") for block in content)
