"""YAML by the rules of version 1.2, so that a value means what it looks like.

PyYAML follows version 1.1, in which `NO` is false, `12:30` is 750 and `1_000` is 1000. Here, only
`true` and `false` are booleans, numbers are decimal, hexadecimal (`0x1f`) or octal (`0o17`), and
everything else is text. One rule is stricter than 1.2: a number with leading zeros, such as
`02116`, is an identifier and stays text.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from dd_core.errors import InvalidConfigError

_TAG = "tag:yaml.org,2002:"
_LARGEST_INTEGER = 4_000
"""Digits of an integer. Python refuses to print integers of more than 4,300 digits."""
_DEEPEST = 200
"""Levels of lists and mappings within each other."""

# Each rule: the tag, the form of the text, and the characters that it may begin with.
_RULES: list[tuple[str, str, str]] = [
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", "<<", "<"),
]


def load_yaml(text: str) -> Any:
    """Load YAML text; raises `ValueError` that says where the text is wrong."""
    import yaml

    try:
        return yaml.load(text, _loader())  # noqa: S506  (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(_describe(error)) from None
    except (AttributeError, TypeError, KeyError) as error:  # PyYAML's own tags, such as !!timestamp
        raise ValueError(f"a value does not have the form of its tag ({error})") from None


def _describe(error: Any) -> str:
    """An error of PyYAML in one line, without the excerpt of the text."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow
        return " ".join(str(error).split())
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    what = ", ".join(part for part in parts if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}"


def load_yaml_file(path: str | Path) -> Any:
    """Load a YAML file; raises `InvalidConfigError` that names the file."""
    try:
        return load_yaml(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InvalidConfigError(f"{str(path)!r} cannot be read: {error}") from None


def dump_yaml(content: Any, *, indent: int = 2, sort_keys: bool = True) -> str:
    """Write YAML that means the same by the rules of versions 1.1 and 1.2."""
    import yaml

    return yaml.dump(
        content, Dumper=_dumper(), indent=indent, sort_keys=sort_keys, allow_unicode=True
    )


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            _require_unique_keys(node)
            return node

        def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  (PyYAML's)
            _require_depth(self, self.flow_level)
            super().fetch_flow_collection_start(TokenClass)  # pyright: ignore

        def add_indent(self, column: int) -> bool:
            _require_depth(self, len(self.indents))
            return super().add_indent(column)  # pyright: ignore

    _add_rules(Loader)
    Loader.add_constructor(f"{_TAG}int", _construct_integer)
    Loader.add_constructor(f"{_TAG}float", _construct_float)
    return Loader


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes text that either version would read as something else."""

    _add_rules(Dumper)
    return Dumper


def _add_rules(target: Any) -> None:
    for tag, form, begins in _RULES:
        first = [*begins, ""] if tag == "null" else [*begins]
        target.add_implicit_resolver(f"{_TAG}{tag}", re.compile(rf"^(?:{form})\Z"), first)


def _require_depth(loader: Any, depth: int) -> None:
    """Raise before PyYAML takes seconds for each thousand levels, or exceeds the call stack."""
    if depth >= _DEEPEST:
        raise ValueError(f"line {loader.line + 1}: it is nested too deeply")


def _require_unique_keys(node: Any) -> None:
    """Raise if a mapping has the same key twice, of which only the last would count."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name, line = key.value, key.start_mark.line + 1
        if isinstance(name, str) and key.tag != f"{_TAG}merge":
            if name in lines:
                raise ValueError(f"line {line}: key {name!r} is already in line {lines[name]}")
            lines[name] = line


def _construct_integer(loader: Any, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    if len(text) > _LARGEST_INTEGER:
        raise ValueError(f"line {node.start_mark.line + 1}: an integer has {len(text)} digits")
    try:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    except ValueError:  # marked as !!int
        raise ValueError(f"line {node.start_mark.line + 1}: {text!r} is not an integer") from None


def _construct_float(loader: Any, node: Any) -> float:
    text: str = loader.construct_scalar(node)
    special = text.lower().lstrip("+-")
    try:
        value = {".inf": math.inf, ".nan": math.nan}.get(special)
        value = float(text) if value is None else value
    except ValueError:
        raise ValueError(f"line {node.start_mark.line + 1}: {text!r} is not a number") from None
    return -value if special == ".inf" and text.startswith("-") else value
