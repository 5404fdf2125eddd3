"""Jinja templates of prompts, expressions and conditions: compiled once, rendered for every row."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from dd_core.errors import UserTemplateError

Engine = Literal["secure", "native"]

_LONGEST_OUTPUT = 512_000
_PYTHON_REPR = re.compile(r"<(function|built-in|bound method|class|module)\b")
_PLAIN = frozenset([str, int, float, bool, type(None)])
_COMPILING = threading.Lock()


@lru_cache(maxsize=4096)
def references(source: str) -> frozenset[str]:
    """Names that a template takes from outside; raises `UserTemplateError` on a syntax error."""
    from jinja2 import meta

    return frozenset(meta.find_undeclared_variables(_parsed(source, "native")))


@dataclass(frozen=True)
class Template:
    """A template whose rendering gives text."""

    source: str
    references: frozenset[str]
    _render: Callable[[dict[str, Any]], Iterable[str]]
    _looked_into: frozenset[str]
    _secure: bool

    @staticmethod
    def compile(source: str, *, engine: Engine = "secure") -> Template:
        """The compiled template; raises `UserTemplateError` for what is not allowed."""
        with _COMPILING:
            return _compile(source, engine)

    def render(self, row: Mapping[str, object]) -> str:
        """The text for a row. Raises `UserTemplateError` when it cannot be rendered."""
        names = self.references
        try:
            values = {name: row[name] for name in names}
        except KeyError as error:
            raise UserTemplateError(f"the row has no column {error.args[0]!r}") from None
        for name, value in values.items():
            if type(value) not in _PLAIN and self._secure:
                values[name] = _plain(value, name)
            elif type(value) is str and name in self._looked_into:
                values[name] = _rules().json_value(value)
        try:
            text = "".join(self._render(values))
        except Exception as error:
            raise self._failure(error) from error
        return self._checked(text) if self._secure else text

    def _checked(self, text: str) -> str:
        if not text or text.isspace():
            names = ", ".join(repr(name) for name in sorted(self.references))
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered to nothing; "
                f"check the values of {names}"
            )
        if len(text) > _LONGEST_OUTPUT:
            raise UserTemplateError(
                f"the rendered text is longer than {_LONGEST_OUTPUT} characters"
            )
        if text[0] == "<" and _PYTHON_REPR.match(text):
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered a Python object; "
                "call it or name a value"
            )
        return text

    def _failure(self, error: Exception) -> UserTemplateError:
        return _failure(self.source, error)


@dataclass(frozen=True)
class Condition:
    """A template whose rendering decides something."""

    source: str
    references: frozenset[str]
    _value: Callable[[dict[str, Any]], Any]
    _looked_into: frozenset[str]
    _exactly_true: bool

    @staticmethod
    @lru_cache(maxsize=1024)
    def compile(source: str) -> Condition:
        """A condition with braces, such as `{{ rating > 3 }}`; truth is Python's."""
        condition = _condition(source, exactly_true=False)
        if not condition.references:
            raise UserTemplateError(
                f"the condition {_short(source)} refers to no column; "
                "write it in braces, for example {{ rating > 3 }}"
            )
        return condition

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_expression(expression: str) -> Condition:
        """A condition without braces, such as `tone == 'angry'`; only True itself is true."""
        return _condition("{{ (" + expression + ") }}", exactly_true=True)

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether the condition is true of a row; raises `UserTemplateError` if it fails."""
        try:
            values = {
                name: _rules().json_value(value)
                if name in self._looked_into and isinstance(value := row[name], str)
                else row[name]
                for name in self.references
            }
            value = self._value(values)
            return value is True if self._exactly_true else bool(value)
        except Exception as error:
            raise _failure(self.source, error) from error


def _rules() -> Any:
    """The sandboxes and their rules, loaded on first use."""
    from dd_core import template_rules

    return template_rules


@lru_cache(maxsize=8)
def _sandbox(native: bool) -> Any:
    return _rules().NativeSandbox() if native else _rules().Sandbox()


def _parsed(source: str, engine: Engine) -> Any:
    from jinja2 import TemplateSyntaxError

    try:
        tree = _sandbox(native=False).parse(source)
    except TemplateSyntaxError as error:
        raise UserTemplateError(
            f"the template {_short(source)} has a syntax error in line {error.lineno}: "
            f"{error.message}; check its braces and quotes"
        ) from None
    except RecursionError:
        raise UserTemplateError("the template is nested too deeply; simplify it") from None
    if engine == "secure":
        _rules().check(tree)
    return tree


@lru_cache(maxsize=4096)
def _compile(source: str, engine: Engine) -> Template:
    tree = _parsed(source, engine)
    template = _loaded(source, native=False)
    return Template(
        source=source,
        references=references(source),
        _render=lambda values: template.root_render_func(template.new_context(values, shared=True)),
        _looked_into=_rules().looked_into(tree),
        _secure=engine == "secure",
    )


def _condition(source: str, *, exactly_true: bool) -> Condition:
    from jinja2.nativetypes import native_concat

    with _COMPILING:
        tree = _parsed(source, "native")
        template = _loaded(source, native=True)

    def value(values: dict[str, Any]) -> Any:
        context = template.new_context(values, shared=True)
        return native_concat(template.root_render_func(context))

    into = _rules().looked_into(tree)
    return Condition(source, references(source), value, into, exactly_true)


def _loaded(source: str, *, native: bool) -> Any:
    from jinja2 import TemplateError

    try:
        return _sandbox(native).from_string(source)
    except TemplateError as error:
        message = f"the template {_short(source)} cannot be compiled: {error.message}"
        raise UserTemplateError(message) from None


def _failure(source: str, error: Exception) -> UserTemplateError:
    from jinja2 import UndefinedError

    if isinstance(error, UserTemplateError):
        return error
    if isinstance(error, KeyError):
        return UserTemplateError(f"the row has no column {error.args[0]!r}")
    if isinstance(error, UndefinedError):
        return UserTemplateError(
            f"the template {_short(source)} failed: {error.message}; "
            "the value that it looks into was probably missing, None or empty"
        )
    return UserTemplateError(
        f"the template {_short(source)} failed: {type(error).__name__}: {error}"
    )


def _plain(value: Any, name: str) -> Any:
    """The value as JSON types; a `UserTemplateError` names the column if that is impossible."""
    match value:
        case None | str() | int() | float():
            return value
        case dict():
            return {str(key): _plain(item, name) for key, item in value.items()}  # pyright: ignore
        case list() | tuple() | set():
            return [_plain(item, name) for item in value]  # pyright: ignore
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return float(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            if hasattr(value, "tolist"):  # NumPy arrays and scalars
                return _plain(value.tolist(), name)
    raise UserTemplateError(
        f"column {name!r} holds a {type(value).__name__}, which templates cannot use; "
        "store text, numbers, lists or objects"
    )


def _short(source: str) -> str:
    text = " ".join(source.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
