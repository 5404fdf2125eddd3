"""Conversations between models, each of which plays a role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import Declaration, find_repeated
from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.columns._conversation_turns import (
    TOKENS_SUFFIX,
    TURNS_SUFFIX,
    VARIABLES,
    MessageRole,
    ModelTurn,
    Opening,
    Transcript,
    Turn,
)
from dd_core.kinds.columns.column import Binding, Column, SkipConfig
from dd_core.kinds.generators import Generator
from dd_core.kinds.scope import Scope, TemplateText, check_template, check_tools, find_references
from dd_core.models.conversation import TruncationPolicy
from dd_core.templates.template import Condition, make_identifier

_MOST_TURNS = 100


class ConversationRole(Declaration):
    """One side of a conversation: a model and what it is told about its part."""

    name: str = Field(min_length=1)
    """Name of the role, such as `customer`."""
    model_alias: str = Field(min_length=1)
    """Alias of the model that plays the role."""
    system_prompt: TemplateText | None = None
    """Jinja template of the system message, which only this role sees; default: no system
    message."""
    tool_alias: str | None = None
    """Alias of the tools that the model may call before it speaks; default: no tools."""
    message_role: MessageRole | None = None
    """The `role` of its messages in the dataset: `user` or `assistant`. Default: `assistant` for
    the last role, `user` for the others."""


class ConversationColumnConfig(Column):
    """A conversation in which models take turns, as a list of messages."""

    model_types: ClassVar[tuple[str, ...]] = ("chat-completion",)
    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Annotated[Literal["conversation"], OWN] = "conversation"
    roles: list[ConversationRole] = Field(min_length=2)
    """Two or more roles, in the order in which they speak. After the last one, the first one speaks
    again."""
    opening: TemplateText | None = None
    """Jinja template of the first message, which the first role says. Default: its model writes
    one."""
    start_prompt: TemplateText = Field(default="Start the conversation.", min_length=1)
    """Jinja template of the user message that starts the view of the first role. No other role sees
    it, and it is not part of the dataset."""
    min_turns: int = Field(default=1, ge=1)
    """Number of the first turn after which `stop_when` is evaluated; default: 1. A turn is one
    message of one role."""
    max_turns: int = Field(ge=2, le=_MOST_TURNS)
    """Maximum number of turns, the opening included."""
    end_mark: str | None = Field(default=None, min_length=1)
    """Text with which any role ends the conversation, such as `[END]`. Mention it in a system
    prompt. It is removed from the message. Default: none."""
    stop_when: str | None = None
    """Jinja condition under which the conversation ends after a turn, such as
    `{{ 'goodbye' in message | lower }}`. Besides columns, it may use `message`, the text of the
    turn; `speaker`, the name of its role; `turn`, its number; and `messages`, the list of all
    `{name, content}` so far."""
    on_truncated: TruncationPolicy = "retry"
    """What happens if a limit of tokens cuts off a message: `retry` requests it once more and
    keeps the truncated one if that is cut off, too; `keep` keeps it at once, `fail` fails the row
    (default: `retry`)."""

    @field_validator("stop_when")
    @classmethod
    def _is_condition(cls, source: str | None) -> str | None:
        if source is not None:
            Condition.compile(source)
        return source

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if repeated := find_repeated(role.name for role in self.roles):
            raise ValueError(f"two roles are named {repeated[0]!r}; give each its own name")
        if self.min_turns > self.max_turns:
            raise ValueError(
                f"min_turns is {self.min_turns}, but max_turns is only {self.max_turns}; "
                "lower min_turns, or raise max_turns"
            )
        return self

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompts, the opening and `stop_when` refer to."""
        names = [*find_references(self.opening), *find_references(self.start_prompt)]
        for role in self.roles:
            names += find_references(role.system_prompt)
        names += [name for name in find_references(self.stop_when) if name not in VARIABLES]
        return [*dict.fromkeys(names)]

    @property
    def side_effect_columns(self) -> list[str]:
        """Columns with the number of turns, and with the tokens that each role took."""
        return [f"{self.name}{TURNS_SUFFIX}", f"{self.name}{TOKENS_SUFFIX}"]

    def get_model_aliases(self) -> list[str]:
        """Return the models of the roles."""
        return [*dict.fromkeys(role.model_alias for role in self.roles)]

    def get_tool_aliases(self) -> list[str]:
        """Return the tools of the roles."""
        return [*dict.fromkeys(role.tool_alias for role in self.roles if role.tool_alias)]

    def expand(self, columns: Mapping[str, Column]) -> Sequence[Column]:
        """Return a hidden column for each turn, and the column that lists the messages."""
        names = [
            f"{make_identifier(self.name)}__turn_{number}"
            for number in range(1, self.max_turns + 1)
        ]
        speakers = [self.roles[at % len(self.roles)].name for at in range(self.max_turns)]
        value = None if self.skip is None else self.skip.value
        transcript = Transcript(
            name=self.name,
            drop=self.drop,
            skip=SkipConfig(when=f"{{{{ {names[0]} is none }}}}", value=value),
            propagate_skip=False,
            message_roles={
                role.name: role.message_role or ("assistant" if role is self.roles[-1] else "user")
                for role in self.roles
            },
            speakers=speakers,
            turns=names,
            has_tools=bool(self.get_tool_aliases()),
        )
        return [*(self._build_turn(at, names, speakers) for at in range(len(names))), transcript]

    def _build_turn(self, at: int, names: Sequence[str], speakers: Sequence[str]) -> Column:
        """Return the hidden column of a turn, counted from 0."""
        skip = None if self.skip is None else self.skip.changed(value=None)
        if at > 0:
            last = names[at - 1]
            skip = SkipConfig(when=f"{{{{ not {last} or {last}.ends }}}}")
        turn = Turn(
            speakers=[*speakers[: at + 1]],
            earlier=[*names[:at]],
            reads=self.required_columns,
            stop_when=self.stop_when if at + 1 >= self.min_turns else None,
            end_mark=self.end_mark,
            is_group=len(self.roles) > 2,
        )
        shared: dict[str, Any] = {
            "name": names[at],
            "skip": skip,
            "propagate_skip": self.propagate_skip,
            "turn": turn,
        }
        if at == 0 and self.opening is not None:
            return Opening(text=self.opening, **shared)
        number = at % len(self.roles)
        role = self.roles[number]
        return ModelTurn(
            **shared,
            prompt="" if number else self.start_prompt,
            model_alias=role.model_alias,
            system_prompt=role.system_prompt,
            tool_alias=role.tool_alias,
            on_truncated=self.on_truncated,
        )

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield unknown columns, models and tools, and mistakes in the templates."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        for number, role in enumerate(self.roles):
            inner = f"{place}.roles.{number}"
            yield from check_template(f"{inner}.system_prompt", role.system_prompt, scope)
            yield from check_tools(f"{inner}.tool_alias", role.tool_alias, scope)
        yield from check_template(f"{place}.opening", self.opening, scope)
        yield from check_template(f"{place}.start_prompt", self.start_prompt, scope)
        used = VARIABLES.intersection(find_references(self.stop_when))
        for name in sorted(used & scope.names):
            message = f"uses {name!r} for the conversation, but a column has this name, too"
            yield Problem(f"{place}.stop_when", f"{message}; rename the column")
        extended = replace(scope, names=scope.names | VARIABLES)
        yield from check_template(f"{place}.stop_when", self.stop_when, extended)

    def _alias_problems(self, place: str, alias: str, scope: Scope) -> Iterator[Problem]:
        for number, role in enumerate(self.roles):
            if role.model_alias == alias:
                place = f"columns.{self.name}.roles.{number}.model_alias"
                yield from super()._alias_problems(place, alias, scope)

    def bind(self, binding: Binding) -> Generator:
        """Raise an error: the hidden columns generate the values."""
        raise NotImplementedError(f"column {self.name!r} is generated by the columns of expand")
