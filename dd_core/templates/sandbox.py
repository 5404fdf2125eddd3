"""The sandboxes that render templates: no access to Python internals, bounded memory use.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from dd_core.storage.json_codec import dump_json

LONGEST_TEXT = 512_000
"""Maximum number of characters of a rendered text, or of the result of one operation in it."""

_WIDE = re.compile(r"\d{5}")
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(?:\d*\.)?(?:\*|\d{5})")
_SIZED_FILTERS = (
    *("batch", "center", "format", "indent", "replace", "round", "slice", "tojson", "truncate"),
)
_CALLABLE_MODULES = frozenset(["builtins", "datetime", "decimal", "jinja2", "markupsafe", "uuid"])
_NEVER_CALLED = (FunctionType, ModuleType, type)


class _Formatter(SandboxedFormatter):
    """`str.format` with results of at most `LONGEST_TEXT` characters."""

    _size = 0

    def format_field(self, value: Any, format_spec: str) -> str:
        if _WIDE.search(format_spec):
            raise SecurityError(f"the format {format_spec!r} is too wide")
        text = str(super().format_field(value, format_spec))
        self._size += len(text)
        _check_size("format", self._size)
        return text


class Formatting:
    """The `format` or `format_map` method of a string, for templates to call."""

    def __init__(self, environment: Sandbox, text: str, *, mapping: bool) -> None:
        self._environment, self._text, self._mapping = environment, text, mapping

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        if self._mapping:
            args, kwargs = (), *args
        return _Formatter(self._environment).vformat(self._text, args, kwargs)


class _KeysFirst(NodeTransformer):
    """Turns `order.items` into `order["items"]`, so that keys of a dict come before its methods.

    Calls such as `order.items()` keep Jinja's order, in which methods come first.
    """

    def __init__(self, tree: nodes.Template) -> None:
        self._called = {id(call.node) for call in tree.find_all(nodes.Call)}

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802 (Jinja's naming)
        called = id(node) in self._called
        self.generic_visit(node)
        if called:
            return node
        key = nodes.Const(node.attr, lineno=node.lineno, environment=node.environment)
        return nodes.Getitem(
            node.node, key, "load", lineno=node.lineno, environment=node.environment
        )


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without access to Python internals; it refuses operations with huge results."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self, *, json: bool = False) -> None:
        finalize = _as_json if json else _finished
        super().__init__(undefined=StrictUndefined, autoescape=False, finalize=finalize)
        self.globals.clear()
        for name in _SIZED_FILTERS:
            self.filters[name] = _sized(name, self.filters[name])

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        tree = _KeysFirst(source).visit(source)
        return super()._generate(tree, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        """`str.format` with bounded widths, instead of Jinja's own wrapper."""
        if super().wrap_str_format(value) is None:
            return None
        return Formatting(self, value.__self__, mapping=value.__name__ == "format_map")

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow methods of plain values only: `array.tofile(path)` would write a file."""
        if isinstance(obj, Formatting):
            return True
        owner = getattr(obj, "__self__", obj)
        kind: type = owner if isinstance(owner, type) and owner is not obj else type(owner)
        plain = kind.__module__.partition(".")[0] in _CALLABLE_MODULES
        return plain and kind not in _NEVER_CALLED and super().is_safe_callable(obj)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse operations whose result could exhaust memory."""
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(value, list | tuple):
                    raise SecurityError("lists cannot be repeated with *")
                if isinstance(times, int) and isinstance(value, str | bytes):
                    _check_size("*", len(value) * times)
        elif operator == "%" and isinstance(left, str | bytes):
            _check_percent_format(left)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_size("**", left.bit_length() * abs(right) // 3)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Refuse calls whose result could exhaust memory, such as `text.ljust(10 ** 9)`."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str | bytes | int):
            _check_numbers((*args, *kwargs.values()))
        if isinstance(owner, str | bytes):
            if name in ("translate", "expandtabs"):
                raise SecurityError(f"the method {name!r} is not allowed in templates")
            if name == "replace" and len(args) > 1:
                _check_size(name, _replaced_size(owner, args[0], args[1]))
            elif name == "join" and args:
                args = (list(args[0]), *args[1:])
                _check_size(name, sum(len(item) + len(owner) for item in args[0]))
        return super().call(__context, __obj, *args, **kwargs)


class NativeSandbox(Sandbox):
    """A sandbox whose expressions keep their Python types."""

    code_generator_class = NativeCodeGenerator


def _finished(value: Any) -> Any:
    """The value that `{{ }}` prints. A function means that its parentheses were forgotten."""
    if callable(value) and not isinstance(value, Undefined):
        raise SecurityError("it prints a function; call the function, or print a value")
    return value


def _as_json(value: Any) -> Any:
    """Like `_finished`, but values other than strings become JSON."""
    value = _finished(value)
    if isinstance(value, str | Undefined):
        return value
    return dump_json(value).decode()


def _check_size(operation: str, size: int) -> None:
    if size > LONGEST_TEXT:
        raise SecurityError(f"the result of {operation} would be too long")


def _check_numbers(arguments: Iterable[Any], most: int = LONGEST_TEXT) -> None:
    for value in arguments:
        if isinstance(value, int) and abs(value) > most:
            raise SecurityError(f"the argument {value} is too large")


def _check_percent_format(text: str | bytes) -> None:
    plain = text if isinstance(text, str) else text.decode("latin-1")
    if _WIDE_PERCENT.search(plain) or plain.count("%") > 100:
        raise SecurityError("the format is too wide")


def _replaced_size(text: Any, old: Any, new: Any) -> int:
    return len(text) + text.count(old) * len(new)


def _sized(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that it refuses arguments with which it could exhaust memory."""
    first = 1 if hasattr(apply, "jinja_pass_arg") else 0  # Jinja passes its context first

    @wraps(apply)
    def checked(*args: Any, **kwargs: Any) -> Any:
        value, *rest = args[first:]
        _check_numbers((*rest, *kwargs.values()), most=10_000 if name != "truncate" else 10**9)
        if name == "replace" and len(rest) > 1:
            _check_size(name, _replaced_size(str(value), str(rest[0]), str(rest[1])))
        elif name == "format":
            _check_percent_format(str(value))
        return apply(*args, **kwargs)

    return checked
