"""The contract of a column: what a declaration says, and how its values come about.

A kind of column lives in one file of `dd_core/columns/`: a frozen declaration (a subclass of
`Column`) whose `bind` returns one of four generators. The engine asks only which of the four it
is; everything else it learns from the declaration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dd_core.declaration.kind import Kind
from dd_core.errors import Problem, UserTemplateError
from dd_core.templates.template import RenderingMode, Template, list_references

if TYPE_CHECKING:
    from dd_core.kinds.constraint import Constraint
    from dd_core.models.config import ModelConfig


@dataclass(frozen=True)
class Scope:
    """What a column can refer to, for the checks before a run."""

    columns: Mapping[str, Kind]
    names: frozenset[str]
    """Every name a template may use: columns, their side effects, seed columns."""
    models: Mapping[str, ModelConfig]
    """The models by alias."""
    constraints: Sequence[Constraint] = ()
    rendering: RenderingMode = "secure"
    """The engine that templates are rendered with."""

    def unknown(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self.names]


def find_references(source: str | None) -> list[str]:
    """Names that a template uses, sorted; none for None."""
    return sorted(list_references(source)) if source else []


def list_known(what: str, names: Collection[str]) -> str:
    """The end of an error message that lists what could have been meant."""
    if not names:
        return f"there are no {what}"
    listed = ", ".join(repr(name) for name in sorted(names)[:20])
    return f"known {what}: {listed}" + (" ..." if len(names) > 20 else "")


def check_template(place: str, source: str | None, scope: Scope) -> Iterator[Problem]:
    """What keeps a template from being rendered: a rule that it breaks, or unknown names."""
    if not source:
        return
    try:
        Template.compile(source, engine=scope.rendering)
    except UserTemplateError as error:
        yield Problem(place, str(error))
        return
    for name in scope.unknown(find_references(source)):
        yield report_unknown(place, name, scope)


def report_unknown(place: str, name: str, scope: Scope) -> Problem:
    """The problem of a template that uses a name which nothing provides."""
    from difflib import get_close_matches

    close = get_close_matches(name, scope.names, n=1)
    fix = f"did you mean {close[0]!r}?" if close else list_known("columns", scope.names)
    return Problem(place, f"refers to {name!r}, which is no column; {fix}")
