"""What depends on what: the graph of a dataset's columns."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import networkx as nx

from dd_core.dataset.config import DataDesignerConfig
from dd_core.errors import Problem
from dd_core.kinds.columns.column import Column


def find_producers(columns: Sequence[Column], problems: list[Problem]) -> dict[str, str]:
    """The column that provides each name."""
    producer = {column.name: column.name for column in columns}
    for column in columns:
        for name in column.side_effect_columns:
            if name in producer:
                other = producer[name]
                message = f"its side effect {name!r} clashes with column {other!r}; rename one"
                problems.append(Problem(f"columns.{column.name}", message))
            producer[name] = column.name
    return producer


def build_graph(config: DataDesignerConfig, producer: Mapping[str, str]) -> nx.DiGraph[str]:
    """An edge from each column to those that need it, for values or for `skip.when`."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for column in config.columns:
        graph.add_node(column.name)
        skip = column.skip.columns if column.skip else []
        for name in [*column.inputs(config.constraints or ()), *skip]:
            if name in producer:
                graph.add_edge(producer[name], column.name)
    return graph


def find_cycles(graph: nx.DiGraph[str]) -> Iterator[Problem]:
    """A problem for each circle of columns."""
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
    graph: nx.DiGraph[str], order: Sequence[str], asking: Container[str]
) -> dict[str, int]:
    """For each column the model cells on the longest way from it to the end of a row."""
    ranks: dict[str, int] = {}
    for name in reversed(order):
        after = max((ranks[child] for child in graph.successors(name)), default=0)
        ranks[name] = after + (name in asking)
    return ranks
