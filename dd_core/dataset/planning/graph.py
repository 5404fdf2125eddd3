"""The dependency graph of a dataset's columns."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import networkx as nx

from dd_core.errors import Problem
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import Constraint


def find_producers(columns: Sequence[Column], problems: list[Problem]) -> dict[str, str]:
    """Map each name to the column that produces it; adds a problem for each clash of names."""
    producer = {column.name: column.name for column in columns}
    for column in columns:
        for name in column.side_effect_columns:
            if name in producer:
                other = producer[name]
                message = (
                    f"its side-effect column {name!r} clashes with column {other!r}; rename one"
                )
                problems.append(Problem(f"columns.{column.name}", message))
            producer[name] = column.name
    return producer


def expand_columns(columns: Sequence[Column]) -> dict[str, Sequence[Column]]:
    """Return the columns that generate each declared column, by its name; it is the last of them.

    See `Column.expand`.
    """
    declared = {column.name: column for column in columns}
    return {column.name: column.expand(declared) for column in columns}


def check_hidden_names(columns: Sequence[Column]) -> Iterator[Problem]:
    """Yield a problem for each hidden column that has the name of another column."""
    taken = {column.name: column.name for column in columns}
    for name, parts in expand_columns(columns).items():
        for hidden in parts[:-1]:
            if (other := taken.setdefault(hidden.name, name)) != name or hidden.name == name:
                message = f"its hidden column {hidden.name!r} has the name of a column of {other!r}"
                yield Problem(f"columns.{name}", f"{message}; rename one of the two")


def build_graph(
    columns: Sequence[Column], constraints: Sequence[Constraint], producer: Mapping[str, str]
) -> nx.DiGraph[str]:
    """Build a graph with an edge from each column to the columns that need it.

    A column needs others for its values and for `skip.when`.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    for column in columns:
        graph.add_node(column.name)
        skip = column.skip.columns if column.skip else []
        for name in [*column.inputs(constraints), *skip]:
            if name in producer:
                graph.add_edge(producer[name], column.name)
    return graph


def find_cycles(graph: nx.DiGraph[str]) -> Iterator[Problem]:
    """Yield a problem for each cycle of columns."""
    for members in nx.strongly_connected_components(graph):
        first = next(iter(members))
        if len(members) > 1 or graph.has_edge(first, first):
            edges: list[tuple[str, str]] = [*nx.find_cycle(graph.subgraph(members))]  # pyright: ignore
            path = " -> ".join([edges[0][0], *(edge[1] for edge in edges)])
            yield Problem(
                f"columns.{edges[0][0]}",
                f"depends on itself: {path}; remove one of these references",
            )


def compute_ranks(
    graph: nx.DiGraph[str], order: Sequence[str], model_columns: Container[str]
) -> dict[str, int]:
    """Count, for each column, the model columns on the longest path that starts with it.

    `order` is a topological order of the graph. Queues serve low ranks first, so that rows finish
    early, and high ranks first at the end of a run.
    """
    ranks: dict[str, int] = {}
    for name in reversed(order):
        after = max((ranks[child] for child in graph.successors(name)), default=0)
        ranks[name] = after + (name in model_columns)
    return ranks
