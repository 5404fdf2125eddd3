"""Jinja templates of prompts, expressions and conditions: compiled once, rendered for every row."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from dd_core.errors import UserTemplateError

RenderingMode = Literal["secure", "native"]
Output = Literal["text", "json"]

# Python's own way of printing a function, which is no tag: `<function>` alone is a fine prompt.
_PYTHON_REPR = re.compile(
    r"<(?:function \S+ at 0x|built-in (?:function|method) \w+|bound method \S+ of )"
)
_PLAIN = frozenset([str, int, float, bool, type(None)])
_COMPILING = threading.Lock()


@lru_cache(maxsize=4096)
def list_references(source: str) -> frozenset[str]:
    """Names that a template takes from outside; raises `UserTemplateError` on a syntax error."""
    from jinja2 import meta

    with _compiling(source):
        return frozenset(meta.find_undeclared_variables(_parsed(source, "native")))


@dataclass(frozen=True)
class Template:
    """A template whose rendering gives text."""

    source: str
    references: frozenset[str]
    _text: Callable[[dict[str, Any]], str]
    _looked_into: frozenset[str]
    _secure: bool

    @staticmethod
    def compile(
        source: str, *, engine: RenderingMode = "secure", output: Output = "text"
    ) -> Template:
        """The compiled template; raises `UserTemplateError` for what is not allowed.

        With `output="json"`, values that are no text are printed as JSON rather than as Python.
        """
        with _COMPILING:
            return _compile(source, engine, output)

    def render(self, row: Mapping[str, object]) -> str:
        """The text for a row. Raises `UserTemplateError` when it cannot be rendered."""
        names = self.references
        try:
            values = {name: row[name] for name in names}
        except KeyError as error:
            raise UserTemplateError(f"the row has no column {error.args[0]!r}") from None
        for name, value in values.items():
            if type(value) not in _PLAIN and self._secure:
                values[name] = value = _plain_column(value, name)
            if type(value) is str and name in self._looked_into:
                values[name] = _rules().json_value(value)
        try:
            text = self._text(values)
        except Exception as error:
            raise _failure(self.source, error, values) from error
        return self._checked(text) if self._secure else text

    def _checked(self, text: str) -> str:
        if not text or text.isspace():
            names = ", ".join(repr(name) for name in sorted(self.references))
            advice = f"check the values of {names}" if names else "write some text in it"
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered to nothing; {advice}"
            )
        if len(text) > (longest := _rules().LONGEST_TEXT):
            raise UserTemplateError(
                f"the rendered text is longer than {longest} characters; shorten its values"
            )
        if text[0] == "<" and _PYTHON_REPR.match(text):
            raise UserTemplateError(
                f"the template {_short(self.source)} rendered a Python object; "
                "call it or name a value"
            )
        return text


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
            values = {name: row[name] for name in self.references}
        except KeyError as error:
            raise UserTemplateError(f"the row has no column {error.args[0]!r}") from None
        for name in self._looked_into & values.keys():
            if isinstance(value := values[name], str):
                values[name] = _rules().json_value(value)
        try:
            value = self._value(values)
            return value is True if self._exactly_true else bool(value)
        except Exception as error:
            raise _failure(self.source, error, values) from error


def _rules() -> Any:
    """The sandboxes and their rules, loaded on first use."""
    from dd_core.templates import rules as template_rules

    return template_rules


@lru_cache(maxsize=8)
def _sandbox(native: bool, output: Output = "text") -> Any:
    from dd_core.templates.sandbox import NativeSandbox, Sandbox

    return NativeSandbox() if native else Sandbox(json=output == "json")


def _parsed(source: str, engine: RenderingMode) -> Any:

    tree = _sandbox(native=False).parse(source)
    if engine == "secure":
        _rules().check(tree)
    return tree


@contextmanager
def _compiling(source: str) -> Generator[None]:
    """Everything that a bad source can raise, as a `UserTemplateError` that says what to mend."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        yield
    except UserTemplateError:
        raise
    except TemplateSyntaxError as error:
        raise UserTemplateError(
            f"the template {_short(source)} has a syntax error in line {error.lineno}: "
            f"{str(error.message).rstrip('.')}; check its braces, quotes and names of filters"
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
def _compile(source: str, engine: RenderingMode, output: Output) -> Template:
    with _compiling(source):
        tree = _parsed(source, engine)
        template = _sandbox(native=False, output=output).from_string(source)
    root, context = template.root_render_func, template.new_context
    secure = engine == "secure"
    # Only a loop can print much more than the template and its values hold.
    loops = secure and _rules().has_loop(tree)
    join: Callable[[Iterable[str]], str] = _rules().bounded_text if loops else "".join
    return Template(
        source=source,
        references=list_references(source),
        _text=lambda values: join(root(context(values, shared=True))),
        _looked_into=_rules().looked_into(tree),
        _secure=secure,
    )


def _condition(source: str, *, exactly_true: bool) -> Condition:
    with _COMPILING, _compiling(source):
        tree = _parsed(source, "native")
        template = _sandbox(native=True).from_string(source)
    to_value = _rules().native_value

    def value(values: dict[str, Any]) -> Any:
        return to_value(template.root_render_func(template.new_context(values, shared=True)))

    into = _rules().looked_into(tree)
    return Condition(source, list_references(source), value, into, exactly_true)


def _failure(source: str, error: Exception, values: Mapping[str, Any]) -> UserTemplateError:
    from jinja2 import UndefinedError
    from jinja2.exceptions import SecurityError

    if isinstance(error, UserTemplateError):
        return error
    template = f"the template {_short(source)}"
    if isinstance(error, UndefinedError):
        names = ", ".join(repr(name) for name in sorted(values))
        found = _rules().missing(_parsed(source, "native"), values)
        return UserTemplateError(
            f"{template} failed: {found or f'{error.message} (it uses the columns {names})'}; "
            "the value was probably missing, None or empty"
        )
    if isinstance(error, SecurityError):
        return UserTemplateError(f"{template} is not allowed: {error}")
    return UserTemplateError(
        f"{template} failed: {type(error).__name__}: {error}; check the values that it uses"
    )


def _plain_column(value: Any, name: str) -> Any:
    try:
        return _plain(value)
    except RecursionError:
        problem = "a value that is nested too deeply or holds itself"
    except UnicodeDecodeError:
        problem = "bytes that are not UTF-8 text"
    except TypeError as error:
        problem = str(error)
    raise UserTemplateError(
        f"column {name!r} holds {problem}, which templates cannot use; "
        "store text, numbers, lists or objects"
    )


def _plain(value: Any) -> Any:
    """The value as JSON types, exactly: no subclass may print itself in a way of its own."""
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
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]  # pyright: ignore
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode()
        case _:
            return _plain_array(value)


def _plain_array(value: Any) -> Any:
    """NumPy's arrays and scalars, told by their methods so that NumPy need not be loaded."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is None or not hasattr(value, "tolist"):
        raise TypeError(f"a {type(value).__name__}")
    if kind in "mM":  # nanoseconds would come out as bare integers
        value = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
    return _plain(value.tolist())


def _short(source: str) -> str:
    text = " ".join(source.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
