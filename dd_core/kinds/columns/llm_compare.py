"""Candidates compared by a language model, in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dd_core.declaration.kind import find_repeated
from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.columns._comparison import VARIABLES, Comparison, Method, Verdict
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import Generator
from dd_core.kinds.scope import Scope, TemplateText, check_template, find_references, report_unknown

if TYPE_CHECKING:
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView, Distribution

_MOST_PAIRED = 10
"""Candidates of which each pair is compared; ten of them already take 90 requests."""


class LLMCompareColumnConfig(Column):
    """The best of several candidates: `{winner, consistent, margin, wins, reasons}`."""

    model_types: ClassVar[tuple[str, ...]] = ("chat-completion",)
    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Annotated[Literal["llm-compare"], OWN] = "llm-compare"
    candidates: str | None = None
    """Name of a column whose values are lists of candidates, such as an LLM column with `n`."""
    columns: list[str] | None = None
    """Names of the columns whose values are compared, instead of `candidates`."""
    model_alias: str = Field(min_length=1)
    """Alias of the model that compares."""
    prompt: TemplateText = Field(min_length=1)
    """Jinja template of the user message. `{{ first }}` and `{{ second }}` insert the candidates;
    with the method `listwise`, `{{ candidates }}` is the list of them. If the prompt inserts none,
    they are appended."""
    system_prompt: TemplateText | None = None
    """Jinja template of the system message; default: no system message."""
    criteria: list[str] | None = None
    """What makes a candidate better; appended to the prompt. Default: what the prompt says."""
    method: Method = "pairwise"
    """`pairwise` compares each pair of candidates, `listwise` all of them at once. Both request an
    answer for each of two opposite orders."""
    max_candidates: int | None = Field(default=None, ge=2)
    """Maximum number of candidates in a list; a row with a longer list fails. `pairwise` requires
    it if the length is not known from the configuration."""

    @model_validator(mode="after")
    def _has_candidates(self) -> Self:
        if (self.candidates is None) == (self.columns is None):
            raise ValueError("set either candidates, the name of a list column, or columns")
        if self.columns is not None:
            if len(self.columns) < 2:
                raise ValueError("columns must name at least two columns to compare")
            if repeated := find_repeated(self.columns):
                raise ValueError(f"columns lists {repeated[0]!r} twice; name different columns")
            if self.max_candidates is not None:
                raise ValueError("max_candidates is for candidates; remove it, or columns")
        return self

    @property
    def sources(self) -> list[str]:
        """The columns that contain the candidates."""
        return [self.candidates] if self.candidates is not None else [*(self.columns or ())]

    @property
    def required_columns(self) -> list[str]:
        """The columns with the candidates, and columns that the prompts refer to."""
        names = find_references(self.prompt) + find_references(self.system_prompt)
        variables = VARIABLES[self.method]
        return [*dict.fromkeys([*self.sources, *(n for n in names if n not in variables)])]

    def count_candidates(self, columns: Mapping[str, Any]) -> int | None:
        """Return the maximum number of candidates, given all columns; None if it is not known."""
        if self.columns is not None:
            return len(self.columns)
        known: int | None = getattr(columns.get(self.candidates or ""), "item_count", None)
        return known or self.max_candidates

    def expand(self, columns: Mapping[str, Column]) -> Sequence[Column]:
        """Return a hidden column for each comparison and order, and the column of the verdicts."""
        count = self.count_candidates(columns)
        orders: dict[str, list[int]]
        if self.method == "listwise":
            orders = {"in order": [], "reversed": []}
        else:
            names = self.columns or range(count or 0)
            pairs = combinations(range(count or 0), 2)
            ordered = [order for pair in pairs for order in ([*pair], [*reversed(pair)])]
            orders = {f"{names[one]} vs {names[other]}": [one, other] for one, other in ordered}
        comparisons = [
            Comparison(
                name=f"{self.name} ({order})",
                skip=self.skip,
                propagate_skip=self.propagate_skip,
                model_alias=self.model_alias,
                prompt=self.prompt,
                system_prompt=self.system_prompt,
                method=self.method,
                sources=self.sources,
                most=count,
                criteria=self.criteria or [],
                pair=pair,
                is_reversed=order == "reversed",
            )
            for order, pair in orders.items()
        ]
        verdict = Verdict(
            name=self.name,
            skip=self.skip,
            propagate_skip=self.propagate_skip,
            method=self.method,
            sources=self.sources,
            most=count,
            comparisons=[each.name for each in comparisons],
        )
        return [*comparisons, verdict]

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield unknown columns, mistakes in the prompt, and wrong numbers of candidates."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        field = "candidates" if self.candidates is not None else "columns"
        for name in scope.unknown(self.sources):
            yield report_unknown(f"{place}.{field}", name, scope)
        variables = VARIABLES[self.method]
        extended = replace(scope, names=scope.names | variables)
        for template in ("prompt", "system_prompt"):
            yield from check_template(f"{place}.{template}", getattr(self, template), extended)
        used = variables.intersection(find_references(self.prompt))
        for name in sorted(used & scope.names):
            message = f"inserts a candidate as {name!r}, but a column has this name, too"
            yield Problem(f"{place}.prompt", f"{message}; rename the column")
        if used and used != variables:
            [missing] = variables - used
            message = f"inserts only one of the two candidates; insert {{{{ {missing} }}}}, too"
            yield Problem(f"{place}.prompt", message)
        yield from self._count_problems(scope)

    def _count_problems(self, scope: Scope) -> Iterator[Problem]:
        place = f"columns.{self.name}"
        count = self.count_candidates(scope.columns)
        if count is None and self.method == "pairwise":
            message = f"is needed, because the length of the lists in {self.candidates!r} is not"
            yield Problem(
                f"{place}.max_candidates", f"{message} known; set it, or set method to listwise"
            )
        elif count is not None and count < 2:
            message = (
                f"column {self.candidates!r} has a single candidate; raise its n, or add models"
            )
            yield Problem(f"{place}.candidates", message)
        elif count is not None and count > _MOST_PAIRED and self.method == "pairwise":
            message = f"compares each pair of {count} candidates, in {count * (count - 1)} requests"
            fix = f"compare at most {_MOST_PAIRED}, or set method to listwise"
            yield Problem(f"{place}.method", f"{message}; {fix}")
        if self.max_candidates is not None and count is not None and count > self.max_candidates:
            message = f"is {self.max_candidates}, but column {self.candidates!r} has {count}"
            yield Problem(f"{place}.max_candidates", f"{message} candidates; remove it")

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the statistics of judges: how often each candidate won, and orders agreed."""
        from dd_core.kinds.statistics import LLMJudgeColumnStatistics

        prompts = [each for each in (self.prompt, self.system_prompt) if each]
        scores: dict[str, Distribution] = {
            name: view.member([name]) for name in ("winner", "consistent")
        }
        return LLMJudgeColumnStatistics(**view.general(), **view.tokens(prompts), scores=scores)

    def bind(self, binding: Binding) -> Generator:
        """Raise an error: the hidden columns generate the values."""
        raise NotImplementedError(f"column {self.name!r} is generated by the columns of expand")
