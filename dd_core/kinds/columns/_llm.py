"""What all columns written by a language model share: prompt, messages, conversation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import find_repeated
from dd_core.declaration.own_fields import OWN
from dd_core.errors import DataDesignerError, MediaError, Problem
from dd_core.kinds.columns._candidates import Candidates, list_hidden_names
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.media import MediaContexts, build_blocks, check_media, list_media_folders
from dd_core.kinds.scope import Scope, TemplateText, check_template, check_tools, find_references
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import (
    AnswerFormat,
    Conversation,
    Message,
    ModelRequest,
    TruncationPolicy,
    converse,
)
from dd_core.storage.batch import NumberedRow
from dd_core.templates.template import Template

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView

TRACE_SUFFIX = "__trace"
REASONING_SUFFIX = "__reasoning_content"


_NOT_TRACED = ("thoughts", "is_error")
"""Parts of messages that are only meant for the server."""
_MOST_CANDIDATES = 100


def _is_unset(value: object) -> bool:
    return value is None


class TraceType(StrEnum):
    """How much of the conversation is kept next to the value."""

    NONE = "none"
    LAST_MESSAGE = "last_message"
    ALL_MESSAGES = "all_messages"


class LLMColumn(Column):
    """Untagged base of all kinds: a prompt, a model, and the format of the answer."""

    model_types: ClassVar[tuple[str, ...]] = ("chat-completion",)

    prompt: TemplateText
    """Jinja template of the user message; `{{ name }}` inserts a column of the same row. With
    `multi_modal_context`, it may be empty."""
    model_alias: str | list[str]
    """Alias of the model that generates the values. With a list of aliases, each value is a list of
    candidates, one from each model."""
    n: Annotated[int | None, OWN] = Field(
        default=None, ge=1, le=_MOST_CANDIDATES, exclude_if=_is_unset
    )
    """Number of answers from each model. If it is set, even to 1, each value is a list of
    candidates `{value, model}`; default: a single answer, or one from each model of a list."""
    system_prompt: TemplateText | None = None
    """Jinja template of the system message; default: no system message."""
    with_trace: TraceType = TraceType.NONE
    """Messages to keep in the column `<name>__trace`: `none`, `last_message` or `all_messages`."""
    extract_reasoning_content: bool = False
    """Whether to keep the model's reasoning in the column `<name>__reasoning_content`."""
    multi_modal_context: MediaContexts | None = None
    """Columns with images, audio and video to send before the prompt."""
    tool_alias: str | None = None
    """Alias of the tools that the model may call before it answers; default: no tools."""

    @field_validator("model_alias")
    @classmethod
    def _aliases_are_unique(cls, given: str | list[str]) -> str | list[str]:
        if not given:
            raise ValueError("names no model; set the alias of a model, or a list of aliases")
        if isinstance(given, list) and (repeated := find_repeated(given)):
            raise ValueError(f"lists {repeated[0]!r} twice; set n for several answers of a model")
        return given

    @model_validator(mode="after")
    def _several_models_give_candidates(self) -> Self:
        if self.n is None and isinstance(self.model_alias, list):
            object.__setattr__(self, "n", 1)
        return self

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompts refer to, and columns with media."""
        names = find_references(self.prompt) + find_references(self.system_prompt)
        names += [context.column_name for context in self.multi_modal_context or ()]
        return list(dict.fromkeys(names))

    @property
    def side_effect_columns(self) -> list[str]:
        """Columns of the trace and of the reasoning, if they are kept.

        Candidates contain their own.
        """
        names: list[str] = []
        if self.n is not None:
            return names
        if self.with_trace is not TraceType.NONE:
            names.append(f"{self.name}{TRACE_SUFFIX}")
        if self.extract_reasoning_content:
            names.append(f"{self.name}{REASONING_SUFFIX}")
        return names

    @property
    def item_count(self) -> int | None:
        """Number of candidates; None for single answers."""
        return None if self.n is None else self.n * len(self.get_model_aliases())

    def list_gates(self) -> Sequence[str]:
        """Return the gates that apply; lists of candidates can only be counted and compared."""
        listed = ("max_null_share", "max_duplicate_share")
        gates = self.supported_gates
        return gates if self.n is None else [gate for gate in gates if gate in listed]

    def expand(self, columns: Mapping[str, Column]) -> Sequence[Column]:
        """Return a hidden column for each candidate and the column that lists them."""
        if self.n is None:
            return [self]
        named = list_hidden_names(self.name, self.get_model_aliases(), self.n)
        answers = [
            self.model_copy(update={"name": name, "model_alias": alias, "n": None})
            for name, alias in named.items()
        ]
        listed = Candidates(name=self.name, skip=self.skip, answers=answers)
        return [*answers, listed]

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield errors for unknown references, and warnings for prompts that look like mistakes."""
        yield from super().problems(scope)
        yield from self._repetition_problems(scope)
        for field in ("prompt", "system_prompt"):
            place = f"columns.{self.name}.{field}"
            yield from check_template(place, getattr(self, field), scope)
        yield from check_media(self.name, self.multi_modal_context, scope)
        yield from check_tools(f"columns.{self.name}.tool_alias", self.tool_alias, scope)
        place = f"columns.{self.name}.prompt"
        if not self.multi_modal_context and not self.prompt.strip():
            yield Problem(place, "is empty; write a prompt, or add multi_modal_context")
        elif not find_references(self.prompt) and not self.multi_modal_context:
            yield Problem(
                place,
                "refers to no column, so every row sends the same prompt; "
                "write {{ name }} to insert the value of a column",
                level="warning",
            )
        for name in scope.names:
            if f"{{{name}}}" in self.prompt.replace("{{", "").replace("}}", ""):
                yield Problem(
                    place, f"has {{{name}}} in single braces; write {{{{ {name} }}}}", "warning"
                )

    def _repetition_problems(self, scope: Scope) -> Iterator[Problem]:
        """Warn about several requests that give the same answer."""
        for alias in self.get_model_aliases() if (self.n or 1) > 1 else ():
            model = scope.models.get(alias)
            parameters = model.inference_parameters if model is not None else None
            if getattr(parameters, "temperature", None) == 0:
                message = f"model {alias!r} has temperature 0, so its {self.n} answers are alike"
                fix = "raise the temperature, or set n to 1"
                yield Problem(f"columns.{self.name}.n", f"{message}; {fix}", level="warning")

    def get_tool_aliases(self) -> list[str]:
        """Return the alias of the tools, if there is one."""
        return [] if self.tool_alias is None else [self.tool_alias]

    @abstractmethod
    def answer_format(self) -> AnswerFormat:
        """Return how an answer is turned into a value."""

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the general statistics, and tokens per cell."""
        from dd_core.kinds.statistics import LLMColumnStatistics

        prompts = [each for each in (self.prompt, self.system_prompt) if each and each.strip()]
        tokens = view.tokens(prompts)
        return LLMColumnStatistics(**view.general(), **tokens)

    def value_type(self) -> Any:
        """Return the Arrow type of the values; None if only the values can tell."""
        return None

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the types of the values, of the trace and of the reasoning."""
        import pyarrow as pa

        block = pa.struct([("type", pa.string()), ("text", pa.string())])
        has_tools = self.tool_alias is not None
        message = pa.struct(list_message_fields(pa.list_(block), has_tools=has_tools))
        kinds: dict[str, Any] = {
            self.name: self.value_type(),
            f"{self.name}{TRACE_SUFFIX}": pa.list_(message),
            f"{self.name}{REASONING_SUFFIX}": pa.string(),
        }
        if self.n is not None:
            return {}
        names = [self.name, *self.side_effect_columns]
        return {name: kinds[name] for name in names if kinds[name] is not None}

    def instructions(self) -> str:
        """Return what is appended to the prompt, after a blank line."""
        return ""

    def bind(self, binding: Binding) -> CellColumn:
        """Return the generator that holds one conversation with the model per row."""
        return ChatCells(self, binding)


class LLMProseColumn(LLMColumn):
    """Untagged base of the kinds whose answers may be of use although they were cut off."""

    on_truncated: Annotated[TruncationPolicy, OWN] = "retry"
    """What to do if a token limit cuts off an answer. `retry` (default) requests one more answer,
    and keeps a truncated one if that one is cut off too. `keep` keeps the truncated answer
    immediately. `fail` fails the row. Code without its closing fence is never kept."""

    def identity(self) -> dict[str, Any]:
        """Return the declaration; the default of `on_truncated` is not part of it.

        Columns that were generated before the field existed stay valid.
        """
        declared = super().identity()
        if self.on_truncated == "retry":
            del declared["on_truncated"]
        return declared


class ChatCells(CellColumn):
    """Generates one cell at a time in a conversation with a model."""

    def __init__(self, column: LLMColumn, binding: Binding) -> None:
        mode = binding.rendering
        [alias] = column.get_model_aliases()
        self.model = binding.models[alias]
        self._model = self.model
        self._column = column
        prompt, system = column.prompt, column.system_prompt
        self._prompt = Template.compile(prompt, mode=mode) if prompt.strip() else None
        self._system = Template.compile(system, mode=mode) if system else None
        self._appended = column.instructions()
        self._format = column.answer_format()
        self._contexts = column.multi_modal_context or []
        self._folders = list_media_folders(binding.folder)
        self._limits = binding.conversation
        self._toolbox = None if column.tool_alias is None else binding.toolboxes[column.tool_alias]
        self._turns = binding.turns

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the value of one row, with the trace and the reasoning if they are kept."""
        return await self._ask(row, slot, self._appended, self._format)

    async def _ask(
        self, row: Row, slot: RequestSlot | None, appended: str, answer_format: AnswerFormat
    ) -> Mapping[str, Any]:
        column = self._column
        opening = self._render_system(row)
        prompt = "\n\n".join(each for each in (self._render_prompt(row), appended) if each)
        media = build_blocks(self._contexts, row, self._folders)
        texts = [{"type": "text", "text": prompt}] if prompt else []  # servers refuse empty texts
        if not media and not texts:
            raise MediaError("the prompt is empty and the row has no media, so there is no message")
        opening.append({"role": "user", "content": [*media, *texts] if media else prompt})
        conversation = await self._converse(slot, opening, prompt, answer_format)
        values: dict[str, Any] = {column.name: conversation.value}
        last = conversation.messages[-1]
        if column.with_trace is TraceType.ALL_MESSAGES:
            messages = [_normalize_content(message) for message in conversation.messages]
            values[f"{column.name}{TRACE_SUFFIX}"] = messages
        elif column.with_trace is TraceType.LAST_MESSAGE:
            values[f"{column.name}{TRACE_SUFFIX}"] = [_normalize_content(last)]
        if column.extract_reasoning_content:
            reasoning = (last.get("reasoning_content") or "").strip()
            values[f"{column.name}{REASONING_SUFFIX}"] = reasoning or None
        return values

    def _render_system(self, row: Row) -> list[Message]:
        """Return the system message, if there is one."""
        if self._system is None:
            return []
        return [{"role": "system", "content": self._system.render(row)}]

    def _render_prompt(self, row: Row) -> str:
        return "" if self._prompt is None else self._prompt.render(row)

    async def _converse(
        self,
        slot: RequestSlot | None,
        opening: list[Message],
        prompt: str,
        answer_format: AnswerFormat,
    ) -> Conversation:
        """Ask the model, with its tools; `prompt` is for the report of failed rows."""
        column = self._column
        slot = slot or RequestSlot(self._model.queue)
        request = ModelRequest(self._model, slot, column.name)
        if self._toolbox is not None:
            saved = self._turns.open(column.name, slot.row) if self._turns is not None else None
            request = replace(request, toolbox=self._toolbox, saved_turns=saved)
        try:
            return await converse(request, opening, answer_format, self._limits)
        except DataDesignerError as error:
            error.prompt = prompt
            raise


def list_message_fields(content: Any, *, has_tools: bool) -> list[tuple[str, Any]]:
    """Return the Arrow fields of a message, the role first, given the type of its content."""
    import pyarrow as pa

    fields = [("role", pa.string()), ("content", content)]
    if has_tools:
        function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
        call = [("id", pa.string()), ("type", pa.string()), ("function", function)]
        fields += [("tool_calls", pa.list_(pa.struct(call))), ("tool_call_id", pa.string())]
    return fields


def add_variables(row: Row, variables: Mapping[str, Any]) -> Row:
    """Return a row with more names for templates."""
    values = {**row, **variables}
    if isinstance(row, NumberedRow):
        return NumberedRow(values, row.seed, row.column, row.number)
    return values


def _normalize_content(message: Message) -> Message:
    """Return a message for a trace: its content is a list of blocks.

    Content may be text in one message and blocks in another, but a column has a single type.
    """
    content: Any = message["content"]
    blocks: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    shown = {name: value for name, value in message.items() if name not in _NOT_TRACED}
    return shown | {"content": blocks}
