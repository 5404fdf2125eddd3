"""Jinja templates for prompts, expressions and conditions: compiled once, rendered for each row."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar

from dd_core.errors import UserTemplateError
from dd_core.storage.batch import NumberedRow

RenderingMode = Literal["secure", "native"]
Output = Literal["text", "json"]
_T = TypeVar("_T")

# How Python prints a function. A tag such as `<function>` alone is a valid prompt.
_PYTHON_REPR = re.compile(
    r"<(?:function \S+ at 0x|built-in (?:function|method) \w+|bound method \S+ of )"
)
_FLAG = re.compile(r"\{\{\s*(\w+)\s*\}\}")
"""A condition that consists of a name."""
_PLAIN = frozenset([str, int, float, bool, type(None)])
# Threads compile one template at a time, so that none is compiled twice.
_COMPILING = threading.Lock()


@lru_cache(maxsize=4096)
def list_references(source: str) -> frozenset[str]:
    """Find the variables that a template uses; raises `UserTemplateError` for a syntax error."""
    from jinja2 import meta

    with _compiling(source):
        return frozenset(meta.find_undeclared_variables(_parse(source, "native")))


def make_identifier(name: str) -> str:
    """Return a name that templates can refer to, as similar as possible to any text."""
    allowed = "".join([each if f"_{each}".isidentifier() else "_" for each in name])
    return allowed if allowed.isidentifier() else f"_{allowed}"


@dataclass(frozen=True)
class Template:
    """A template that renders to text."""

    source: str
    references: frozenset[str]
    """Names of the columns that the template uses."""
    _text: Callable[[dict[str, Any], Mapping[str, object]], str]
    _inspected: frozenset[str]
    """The references whose values the template looks into, so that JSON in them is parsed."""
    _secure: bool

    @staticmethod
    def compile(
        source: str, *, mode: RenderingMode = "secure", output: Output = "text"
    ) -> Template:
        """Compile a template; raises `UserTemplateError` if it is not allowed.

        With `output="json"`, values other than strings are printed as JSON, not as Python.
        """
        with _COMPILING:
            return _compile(source, mode, output)

    def render(self, row: Mapping[str, object]) -> str:
        """Render the text for a row; raises `UserTemplateError` if that fails.

        The text depends on the values alone, and what `random` chooses on the row's place in the
        dataset as well, which a `NumberedRow` knows.
        """
        names = self.references
        try:
            values = {name: row[name] for name in names}
        except KeyError as error:
            raise UserTemplateError(f"the row has no column {error.args[0]!r}") from None
        for name, value in values.items():
            if type(value) not in _PLAIN:
                convert = _plain if self._secure else _order_sets
                values[name] = value = _convert_column(value, name, convert)
            if type(value) is str and name in self._inspected:
                values[name] = _rules().parse_text(value)
        try:
            text = self._text(values, row)
        except Exception as error:
            raise _failure(self.source, error, values, row) from error
        return self._checked(text) if self._secure else text

    def _checked(self, text: str) -> str:
        if not text:  # templates write a space to say that a value is missing
            names = ", ".join(repr(name) for name in sorted(self.references))
            advice = f"check the values of {names}" if names else "add some text to it"
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered to an empty string; {advice}"
            )
        if len(text) > (longest := _rules().LONGEST_TEXT):
            raise UserTemplateError(
                f"the rendered text is longer than {longest} characters; shorten its values"
            )
        if text[0] == "<" and _PYTHON_REPR.match(text):
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered a Python object; "
                "call the function, or print a value"
            )
        return text


@dataclass(frozen=True)
class Condition:
    """A template that is true or false for a row."""

    source: str
    references: frozenset[str]
    """Names of the columns that the condition uses."""
    draws: bool
    """Whether it may choose at random, so that rows with equal values may differ."""
    _value: Callable[[dict[str, Any], Mapping[str, object]], Any]
    _inspected: frozenset[str]
    _exactly_true: bool
    _flag: str | None = None
    """The name that the whole condition consists of, if it does."""

    @staticmethod
    @lru_cache(maxsize=1024)
    def compile(source: str) -> Condition:
        """Compile a condition with braces, such as `{{ rating > 3 }}`; any truthy value holds."""
        condition = _condition(source, exactly_true=False)
        if not condition.references:
            raise UserTemplateError(
                f"the condition {_short(source)} does not refer to any column; "
                "write it in braces, for example {{ rating > 3 }}"
            )
        return condition

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_expression(expression: str) -> Condition:
        """Compile a condition without braces, such as `tone == 'angry'`; only `True` holds."""
        return _condition("{{ (" + expression + ") }}", exactly_true=True)

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether the condition is true for a row; raises `UserTemplateError` if it fails."""
        if self._flag is not None and type(row.get(self._flag)) is bool:
            return row[self._flag] is True  # as the template would, ten times faster
        return self._compute(row, (lambda value: value is True) if self._exactly_true else bool)

    def to_number(self, row: Mapping[str, object]) -> float:
        """The number that the expression has for a row; raises `UserTemplateError` if it fails."""
        return self._compute(row, float)

    def _compute(self, row: Mapping[str, object], convert: Callable[[Any], _T]) -> _T:
        try:
            values = {name: row[name] for name in self.references}
        except KeyError as error:
            raise UserTemplateError(f"the row has no column {error.args[0]!r}") from None
        for name, value in values.items():
            if type(value) not in _PLAIN:
                values[name] = _convert_column(value, name, _order_sets)
        for name in self._inspected & values.keys():
            if isinstance(value := values[name], str):
                values[name] = _rules().parse_text(value)
        try:
            return convert(self._value(values, row))
        except Exception as error:
            raise _failure(self.source, error, values, row) from error


def _rules():  # its type is the module, so that type checkers see what is called
    """The module of rules, imported on first use."""
    from dd_core.templates import rules as template_rules

    return template_rules


@lru_cache(maxsize=8)
def _sandbox(native: bool, output: Output = "text") -> Any:
    from dd_core.templates.sandbox import NativeSandbox, Sandbox

    return NativeSandbox() if native else Sandbox(json=output == "json")


def _parse(source: str, mode: RenderingMode) -> Any:
    """The syntax tree of a template, checked against the rules of its rendering mode."""
    tree = _sandbox(native=False).parse(source)
    if mode == "secure":
        _rules().check(tree)
    return tree


@contextmanager
def _compiling(source: str) -> Generator[None]:
    """Turn whatever a bad template raises into a `UserTemplateError` that says what to fix."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        yield
    except UserTemplateError:
        raise
    except TemplateSyntaxError as error:
        raise UserTemplateError(
            f"the template {_short(source)} has a syntax error in line {error.lineno}: "
            f"{str(error.message).rstrip('.')}; check its braces, quotes and filter names"
        ) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise UserTemplateError(
            f"the template {_short(source)} is nested too deeply; simplify or split it"
        ) from None
    except (TemplateError, ValueError, ArithmeticError) as error:
        raise UserTemplateError(
            f"the template {_short(source)} cannot be compiled: {error}; simplify it"
        ) from None


@lru_cache(maxsize=4096)
def _compile(source: str, mode: RenderingMode, output: Output) -> Template:
    with _compiling(source):
        tree = _parse(source, mode)
        template = _sandbox(native=False, output=output).from_string(source)
    secure = mode == "secure"
    join: Callable[[Iterable[str]], str] = "".join
    if _rules().has_loop(tree):
        join = partial(_rules().join_bounded, secure=secure)
    return Template(
        source=source,
        references=list_references(source),
        _text=_bind(template, source, join),
        _inspected=_rules().find_inspected_names(tree),
        _secure=secure,
    )


def _condition(source: str, *, exactly_true: bool) -> Condition:
    with _COMPILING, _compiling(source):
        tree = _parse(source, "native")
        template = _sandbox(native=True).from_string(source)
    return Condition(
        source=source,
        references=list_references(source),
        draws=_rules().is_random(tree),
        _value=_bind(template, source, _rules().to_native_value),
        _inspected=_rules().find_inspected_names(tree),
        _exactly_true=exactly_true,
        _flag=found[1] if (found := _FLAG.fullmatch(source)) else None,
    )


def _bind(
    template: Any, source: str, join: Callable[[Iterable[Any]], Any]
) -> Callable[[dict[str, Any], Mapping[str, object]], Any]:
    """The function that renders a compiled template with values, for a row."""
    from dd_core.templates.meter import RenderContext

    root, environment, blocks = template.root_render_func, template.environment, template.blocks

    def render(values: dict[str, Any], row: Mapping[str, object]) -> Any:
        context = RenderContext(environment, values, None, blocks)
        context.source, context.row = source, row
        return join(root(context))

    return render


def _failure(
    source: str, error: Exception, values: Mapping[str, Any], row: Mapping[str, object]
) -> UserTemplateError:
    from jinja2 import UndefinedError
    from jinja2.exceptions import SecurityError

    from dd_core.templates.meter import TooMuchWorkError

    if isinstance(error, UserTemplateError):
        return error
    if isinstance(error, TooMuchWorkError):
        of = f" of column {row.column!r}" if isinstance(row, NumberedRow) else ""
        return UserTemplateError(f"the template {_short(source)}{of} is too much work: {error}")
    template = f"the template {_short(source)}"
    if isinstance(error, UndefinedError):
        names = ", ".join(repr(name) for name in sorted(values))
        found = _rules().describe_missing(_parse(source, "native"), values)
        return UserTemplateError(
            f"{template} failed: {found or f'{error.message} (it uses the columns {names})'}; "
            "the value was probably missing, None or empty"
        )
    if isinstance(error, SecurityError):
        return UserTemplateError(f"{template} is not allowed: {error}")
    return UserTemplateError(
        f"{template} failed: {type(error).__name__}: {error}; check the values that it uses"
    )


def _convert_column(value: Any, name: str, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(value)
    except RecursionError:
        problem = "a value that is nested too deeply or contains itself"
    except UnicodeDecodeError:
        problem = "bytes that are not UTF-8 text"
    except TypeError as error:
        problem = str(error)
    raise UserTemplateError(
        f"column {name!r} contains {problem}, which templates cannot use; "
        "store text, numbers, lists or objects"
    )


def _plain(value: Any) -> Any:
    """Convert a value to exact JSON types: a subclass could override how it is printed."""
    if type(value) in _PLAIN:
        return value
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float() | decimal.Decimal():
            return float(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore
        case list() | tuple():
            return [_plain(item) for item in value]  # pyright: ignore
        case set() | frozenset():
            return [_plain(item) for item in _sort_set(value)]  # pyright: ignore
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode()
        case _:
            return _plain_array(value)


def _sort_set(values: Iterable[Any]) -> list[Any]:
    """The members of a set in an order that does not depend on the process."""
    return sorted(values, key=lambda each: (type(each).__name__, repr(each)))


def _order_sets(value: Any) -> Any:
    """A value with lists in place of its sets."""
    match value:
        case set() | frozenset():
            return [_order_sets(item) for item in _sort_set(value)]  # pyright: ignore
        case dict() if not _PLAIN.issuperset(map(type, value.values())):  # pyright: ignore
            return {key: _order_sets(item) for key, item in value.items()}  # pyright: ignore
        case list() | tuple() if not _PLAIN.issuperset(map(type, value)):  # pyright: ignore
            items = [_order_sets(item) for item in value]  # pyright: ignore
            return items if isinstance(value, list) else (*items,)
        case _:
            return value


def _plain_array(value: Any) -> Any:
    """Convert a NumPy array or scalar, recognized by its methods to avoid importing NumPy."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is None or not hasattr(value, "tolist"):
        raise TypeError(f"a {type(value).__name__}")
    if kind in "mM":  # nanoseconds would become plain integers
        value = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
    return _plain(value.tolist())


def _short(source: str) -> str:
    text = " ".join(source.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
