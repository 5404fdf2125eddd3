"""What a configuration may refer to, and the checks that use it before a run.

The `problems` methods of columns, validators and processors receive a `Scope` and yield a `Problem`
for every mistake. A run does not start while there are problems of the level `error`, and the user
sees all of them at once. The functions in this module cover the most common mistake, a reference
to a column that does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from dd_core.declaration.kind import Kind
from dd_core.errors import Problem, UserTemplateError
from dd_core.templates.template import RenderingMode, Template, list_references

if TYPE_CHECKING:
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedRows
    from dd_core.models.config import ModelConfig


def _require_syntax(source: str) -> str:
    list_references(source)
    return source


TemplateText = Annotated[str, AfterValidator(_require_syntax)]
"""A field with a Jinja template; what Jinja cannot parse is refused when the field is declared."""


@dataclass(frozen=True)
class Scope:
    """What a part of the configuration may refer to."""

    columns: Mapping[str, Kind]
    """Columns by name, seed columns included. They are typed as `Kind`, because this module lies
    below `Column`."""
    names: frozenset[str]
    """All names that templates may use: columns and their side effects."""
    models: Mapping[str, ModelConfig]
    """Models by alias."""
    tools: Collection[str] = ()
    """Aliases of tool configurations."""
    constraints: Sequence[Constraint] = ()
    """Constraints on sampler columns."""
    rendering: RenderingMode = "secure"
    """Mode in which templates are rendered."""
    seed_rows: SeedRows | None = None
    """Rows of the seed dataset; None if there is none or if it cannot be read."""

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Return those of the names that do not exist, in the given order."""
        return [name for name in names if name not in self.names]


class UnknownReferenceProblem(Problem):
    """A reference to a column that does not exist.

    It says nothing if columns are missing only because the seed dataset cannot be read.
    """


def find_references(source: str | None) -> list[str]:
    """Return the names that a template uses, sorted; an empty list for None."""
    return sorted(list_references(source)) if source else []


def list_known(what: str, names: Collection[str]) -> str:
    """Return the end of an error message: a list of the names that exist, 20 at most."""
    if not names:
        return f"there are no {what}"
    listed = ", ".join(repr(name) for name in sorted(names)[:20])
    return f"known {what}: {listed}" + (" ..." if len(names) > 20 else "")


def check_template(place: str, source: str | None, scope: Scope) -> Iterator[Problem]:
    """Yield what prevents a template from being rendered: a violated rule or unknown names.

    `place` is where the template is in the configuration, for example `columns.review.prompt`.
    """
    if not source:
        return
    try:
        Template.compile(source, mode=scope.rendering)
    except UserTemplateError as error:
        yield Problem(place, str(error))
        return
    for name in scope.unknown(find_references(source)):
        yield report_unknown(place, name, scope)


def check_tools(place: str, alias: str | None, scope: Scope) -> Iterator[Problem]:
    """Yield the problem that no tools have an alias; None stands for no tools."""
    if alias is not None and alias not in scope.tools:
        message = f"no tool configuration has the alias {alias!r}"
        yield Problem(place, f"{message}; {list_known('aliases', scope.tools)}")


def report_unknown(place: str, name: str, scope: Scope) -> Problem:
    """Return the problem that `place` refers to a column that does not exist.

    The message suggests the most similar name, or lists the names that exist.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, scope.names, n=1)
    fix = f"did you mean {close[0]!r}?" if close else list_known("columns", scope.names)
    return UnknownReferenceProblem(place, f"refers to unknown column {name!r}; {fix}")
