"""Texts that a model continues, instead of answering them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import DataDesignerError, Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.scope import Scope, TemplateText, check_template, find_references
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import AnswerFormat, ModelRequest, TruncationPolicy, converse
from dd_core.models.probe import Probe
from dd_core.models.wire.answers import Reply
from dd_core.templates.template import Template

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView

LOGPROBS_SUFFIX, MEAN_LOGPROB_SUFFIX = "__logprobs", "__mean_logprob"
_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
"""What vLLM and SGLang need to continue the last message; llama.cpp and Anthropic always do."""


class LLMCompletionColumnConfig(Column):
    """Text with which a language model continues a prompt, or the beginning of its answer."""

    model_types: ClassVar[tuple[str, ...]] = ("chat-completion",)

    column_type: Annotated[Literal["llm-completion"], OWN] = "llm-completion"
    prompt: TemplateText = Field(min_length=1)
    """Jinja template of the text that the model continues, without a chat template. With
    `prefill`, it is the user message instead."""
    model_alias: str = Field(min_length=1)
    """Alias of the model."""
    prefill: TemplateText | None = Field(default=None, min_length=1)
    """Jinja template of the beginning of the answer, which the model continues. Default: the prompt
    itself is continued."""
    system_prompt: TemplateText | None = None
    """Jinja template of the system message; it needs `prefill`. Default: no system message."""
    stop: list[str] | None = Field(default=None, min_length=1)
    """Texts at which the model stops. They are not part of the value. Default: the model stops by
    itself, or at the limit of tokens."""
    echo: bool = False
    """Whether values begin with the text that was continued: the prompt, or the prefill."""
    with_logprobs: bool = False
    """Whether to keep the log probabilities of the tokens in the column `<name>__logprobs`, and
    their mean in `<name>__mean_logprob`."""
    on_truncated: TruncationPolicy = "keep"
    """What happens if a limit of tokens cuts off a text: `keep` keeps it, `retry` requests one more
    and keeps the truncated one if that is cut off, too, `fail` fails the row (default: `keep`,
    because many texts have no natural end)."""

    @field_validator("stop")
    @classmethod
    def _stops_at_text(cls, given: list[str] | None) -> list[str] | None:
        if given is not None and not all(given):
            raise ValueError("contains an empty text; remove it")
        return given

    @model_validator(mode="after")
    def _system_prompt_needs_a_chat(self) -> Self:
        if self.system_prompt is not None and self.prefill is None:
            raise ValueError(
                "system_prompt needs prefill, because a prompt that is continued is no chat; "
                "set prefill, or write the instructions into the prompt"
            )
        return self

    @property
    def templates(self) -> dict[str, str]:
        """The templates of the request by field."""
        fields = {name: getattr(self, name) for name in ("prompt", "prefill", "system_prompt")}
        return {name: source for name, source in fields.items() if source}

    @property
    def required_columns(self) -> list[str]:
        """Columns that the templates refer to."""
        names = [name for each in self.templates.values() for name in find_references(each)]
        return [*dict.fromkeys(names)]

    @property
    def side_effect_columns(self) -> list[str]:
        """Columns of the log probabilities, if they are kept."""
        if not self.with_logprobs:
            return []
        return [f"{self.name}{LOGPROBS_SUFFIX}", f"{self.name}{MEAN_LOGPROB_SUFFIX}"]

    @property
    def request_fields(self) -> dict[str, Any]:
        """Fields of the request besides the texts."""
        fields: dict[str, Any] = {} if self.prefill is None else {**_CONTINUE}
        if self.stop:
            fields["stop"] = self.stop
        if self.with_logprobs:  # the chat route wants to know whether, the other one how many
            fields["logprobs"] = 1 if self.prefill is None else True
        return fields

    def get_probe(self) -> Probe:
        """Return a request of the form in which the column sends its own."""
        purpose = "raw completions" if self.prefill is None else "prefilled answers"
        asked = build_request("Hello", None if self.prefill is None else "Hello", None)
        return Probe({**asked, **self.request_fields}, purpose, self.with_logprobs)

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield unknown references, and a warning if nothing ends the texts."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        for field, source in self.templates.items():
            yield from check_template(f"{place}.{field}", source, scope)
        model = scope.models.get(self.model_alias)
        parameters = model.inference_parameters if model is not None else None
        is_endless = self.prefill is None and not self.stop
        if is_endless and parameters and getattr(parameters, "max_tokens", None) is None:
            message = f"nothing ends the texts of model {self.model_alias!r}; set stop, or "
            fix = "max_tokens in its inference_parameters"
            yield Problem(f"{place}.stop", f"{message}{fix}", level="warning")

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the general statistics, and tokens per cell."""
        from dd_core.kinds.statistics import LLMColumnStatistics

        tokens = view.tokens([*self.templates.values()])
        return LLMColumnStatistics(**view.general(), **tokens)

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the types of the text and of the log probabilities."""
        import pyarrow as pa

        token = pa.struct([("token", pa.string()), ("logprob", pa.float64())])
        kinds = [pa.string(), pa.list_(token), pa.float64()]
        return dict(zip([self.name, *self.side_effect_columns], kinds, strict=False))

    def bind(self, binding: Binding) -> CellColumn:
        """Return the generator that requests the texts."""
        return _Completions(self, binding)


def build_request(prompt: str, prefill: str | None, system: str | None) -> dict[str, Any]:
    """Return the texts of a request: a prompt, or messages if there is a prefill."""
    if prefill is None:
        return {"prompt": prompt}
    said = [("system", system), ("user", prompt), ("assistant", prefill)]
    return {"messages": [{"role": role, "content": text} for role, text in said if text]}


class _Completions(CellColumn):
    def __init__(self, column: LLMCompletionColumnConfig, binding: Binding) -> None:
        self.model = self._model = binding.models[column.model_alias]
        self._column = column
        self._templates = {
            name: Template.compile(source, mode=binding.rendering)
            for name, source in column.templates.items()
        }
        self._fields = column.request_fields
        self._limits = binding.conversation
        self._format = AnswerFormat(str, on_truncated=column.on_truncated)

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the text of one row, with its log probabilities if they are kept."""
        column, model = self._column, self._model
        texts = {name: template.render(row) for name, template in self._templates.items()}
        prompt, prefill = texts["prompt"], texts.get("prefill")
        asked = build_request(prompt, prefill, texts.get("system_prompt")) | self._fields
        slot = slot or RequestSlot(model.queue)

        async def complete() -> Reply:
            return await model.complete(slot, column.name, asked)

        request = ModelRequest(model, slot, column.name, complete=complete)
        try:
            found = await converse(request, [], self._format, self._limits)
        except DataDesignerError as error:
            error.prompt = prompt  # for the report of failed rows
            raise
        continued = prompt if prefill is None else prefill
        values: dict[str, Any] = {column.name: (continued if column.echo else "") + found.value}
        if column.with_logprobs:
            tokens = found.reply.logprobs or ()
            listed = [{"token": token, "logprob": logprob} for token, logprob in tokens]
            mean = sum(logprob for _, logprob in tokens) / len(tokens) if tokens else None
            kept = (listed or None, mean)
            values |= dict(zip(column.side_effect_columns, kept, strict=True))
        return values
