"""The sandboxes that render templates: no access to Python internals, bounded time and memory.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

# pyright: reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeCodeGenerator, native_concat
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from dd_core.storage.json_codec import dump_json
from dd_core.templates.filters import (
    CONCAT,
    LOOP,
    RESULT,
    build_filters,
    build_tests,
    check_size,
    measure_percent_format,
    measure_replaced,
    require_few_steps,
)
from dd_core.templates.functions import TemplateFunction, bind_functions, build_functions
from dd_core.templates.meter import (
    ITEM,
    LONGEST_TEXT,
    MOST_BITS,
    MOST_WORK,
    SCALARS,
    SHORT,
    RenderContext,
    TooMuchWorkError,
    measure,
    require_text,
)
from dd_core.templates.numbers import (
    INTERNAL as NUMBER_FILTERS,
    NUMBER,
    NumberText,
    mark_reference,
    read_listed,
    replace_comparison,
    resolve_numbers,
)

_WIDE = re.compile(r"\d{5}")
_CALLABLE_MODULES = frozenset(["builtins", "datetime", "decimal", "jinja2", "markupsafe", "uuid"])
_NEVER_CALLED = (FunctionType, ModuleType, type)
_NUMBERS = frozenset([int, float])
_CLOCKS = frozenset(["now", "today", "utcnow"])
_LOCAL_TIME = frozenset(["astimezone", "fromtimestamp", "timestamp"])
_LONGEST_TIME_FORMAT = 1_000
LONGEST_LITERAL = 10_000
"""Maximum length of a printed text that a condition reads as a Python value."""
_CODECS = frozenset(["ascii", "iso88591", "latin1", "utf16", "utf32", "utf8", "utf8sig"])


class _Formatter(SandboxedFormatter):
    """`str.format` with results of at most `LONGEST_TEXT` characters."""

    _size = 0

    def format_field(self, value: Any, format_spec: str) -> str:
        if _WIDE.search(format_spec):
            raise SecurityError(f"the format {format_spec!r} is too wide")
        check_size("format", len(format_spec) + self._size + measure(value))
        if hasattr(value, "strftime"):
            _check_time_format(format_spec)
        text = str(super().format_field(value, format_spec))
        self._size += len(text)
        check_size("format", self._size)
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        check_size("format", self._size + measure(value))
        return super().convert_field(value, conversion)


class Formatting:
    """The `format` or `format_map` method of a string, for templates to call."""

    def __init__(self, environment: Sandbox, text: str, *, mapping: bool) -> None:
        self._environment, self._text, self._mapping = environment, text, mapping

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        if self._mapping:
            args, kwargs = (), *args
        return _Formatter(self._environment).vformat(self._text, args, kwargs)


class _Rewriter(NodeTransformer):
    """Rewrites templates before they are compiled.

    `order.items` becomes `order["items"]`, so that keys of a dict come before its methods. Calls
    such as `order.items()` keep Jinja's order, in which methods come first. What Jinja compiles to
    plain Python passes through a filter that counts its work: loops, `~`, slices and literals.
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

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, LOOP)
        return node

    def _visit_calculation(self, node: Any) -> nodes.Node:
        node.left, node.right = mark_reference(node.left), mark_reference(node.right)
        self.generic_visit(node)
        return node

    visit_Add = visit_Sub = visit_Mul = visit_Div = _visit_calculation  # noqa: N815
    visit_FloorDiv = visit_Mod = visit_Pow = _visit_calculation  # noqa: N815

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        compared = replace_comparison(node)
        self.generic_visit(compared)
        return compared

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        if node.node is not None and node.name in ("max", "min", "sum"):
            node.node = read_listed(node.node)
        elif node.node is not None and node.name in ("abs", "round"):
            node.node = mark_reference(node.node, NUMBER)
        self.generic_visit(node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        place: Any = {"lineno": node.lineno, "environment": node.environment}
        return _filtered(nodes.Tuple(node.nodes, "load", **place), CONCAT)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, RESULT) if isinstance(node.arg, nodes.Slice) else node

    def _visit_literal(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        is_constant = all(isinstance(each, nodes.Const | nodes.Pair) for each in node.items)
        pairs = (each for each in node.items if isinstance(each, nodes.Pair))
        is_constant &= all(isinstance(pair.value, nodes.Const) for pair in pairs)
        return node if is_constant else _filtered(node, RESULT)

    visit_List = visit_Tuple = visit_Dict = _visit_literal  # noqa: N815


def _filtered(node: Any, name: str) -> nodes.Expr:
    return nodes.Filter(
        node, name, [], [], None, None, lineno=node.lineno, environment=node.environment
    )


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without access to Python internals; it refuses operations with huge results."""

    intercepted_binops = frozenset(["+", "-", "*", "**", "%", "/", "//"])
    context_class = RenderContext

    def __init__(self, *, json: bool = False) -> None:
        finalize = _finish_json if json else _finish
        super().__init__(undefined=StrictUndefined, autoescape=False, finalize=finalize)
        self.globals.clear()
        self.filters, self.tests = build_filters() | NUMBER_FILTERS, build_tests()
        vars(self).update(build_functions())

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a macro or a block has printed."""
        texts = parts if isinstance(parts, list) else [*parts]
        _check_work(sum(map(len, texts)))
        return "".join(texts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return bind_functions(super()._parse(source, name, filename))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        tree = _Rewriter(source).visit(source)
        return super()._generate(tree, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        """`str.format` with bounded widths, instead of Jinja's own wrapper."""
        if super().wrap_str_format(value) is None:
            return None
        return Formatting(self, value.__self__, mapping=value.__name__ == "format_map")

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow methods of plain values only: `array.tofile(path)` would write a file."""
        if isinstance(obj, Formatting | TemplateFunction):
            return True
        owner = getattr(obj, "__self__", obj)
        kind: type = owner if isinstance(owner, type) and owner is not obj else type(owner)
        plain = kind.__module__.partition(".")[0] in _CALLABLE_MODULES
        return plain and kind not in _NEVER_CALLED and super().is_safe_callable(obj)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Calculate with numbers in text; refuse results that could exhaust memory."""
        if type(left) is NumberText or type(right) is NumberText:
            left, right = resolve_numbers(left, right)
        numbers = type(left) in _NUMBERS and type(right) in _NUMBERS
        if operator == "+":
            if not numbers:
                context.charge(_measure_operand(left) + _measure_operand(right))
            return left + right
        if operator == "-":
            result = left - right
            if not isinstance(result, set):
                return result
            # The order of a set of strings differs between processes.
            return [key for key in left if key in result]
        if operator == "*":
            _check_product(left, right)
        elif operator == "%" and isinstance(left, str | bytes):
            context.charge(measure_percent_format(left, right))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * abs(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Refuse calls whose result could exhaust memory, such as `text.ljust(10 ** 9)`."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str | bytes):
            args = _check_text_method(owner, name, args, kwargs)
        elif isinstance(owner, int):
            _check_numbers((*args, *kwargs.values()))
        elif isinstance(__obj, Macro):
            __context.charge(ITEM + measure([*args, *kwargs.values()], is_printed=False))
        elif isinstance(__obj, LoopContext) and args:
            args = (__context.count(args[0]), *args[1:])
        elif name in _CLOCKS or name in _LOCAL_TIME or name == "strftime":
            _check_time_method(owner, name, args, kwargs)
        return __context.settle(super().call(__context, __obj, *args, **kwargs))


class NativeSandbox(Sandbox):
    """A sandbox whose expressions keep their Python types."""

    code_generator_class = NativeCodeGenerator

    @staticmethod
    def concat(parts: Iterable[Any]) -> Any:
        """Return the only part, or the Python value of the joined text."""
        chunks: list[Any] = []
        size = 0
        for chunk in parts:
            size += len(chunk) if type(chunk) is str else measure(chunk)
            check_size("the template", size)
            chunks.append(chunk)
        if len(chunks) == 1 and not isinstance(chunks[0], str):
            return chunks[0]
        if size > LONGEST_LITERAL:  # Python's parser takes much more memory than the text
            return "".join(map(str, chunks))
        return native_concat(chunks)


@pass_context
def _finish(context: RenderContext, value: Any) -> Any:
    """Return the value that `{{ }}` prints. A function means that its parentheses were forgotten.

    Raises `SecurityError` for a value that is too long, or whose text would be an address.
    """
    kind = type(value)
    if kind is str:
        if len(value) > SHORT:
            context.charge(len(value))
    elif kind not in SCALARS and not isinstance(value, Undefined):
        require_text(value)
        context.charge(measure(value))
    return value


@pass_context
def _finish_json(context: RenderContext, value: Any) -> Any:
    """Like `_finish`, but values other than strings become JSON."""
    value = _finish(context, value)
    if isinstance(value, str | Undefined):
        return value
    return dump_json(value).decode()


def _check_work(size: int) -> None:
    if size > MOST_WORK:
        raise TooMuchWorkError(f"a text has more than {MOST_WORK:,} characters")


def _check_bits(size: int) -> None:
    if size > MOST_BITS:
        raise SecurityError(f"an integer would have more than {MOST_BITS} bits")


def _measure_operand(value: Any) -> int:
    return len(value) if type(value) is str else measure(value, is_printed=False)


def _check_product(left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(value, list | tuple):
            raise SecurityError("lists cannot be repeated with *")
        if isinstance(times, int) and isinstance(value, str | bytes):
            check_size("*", len(value) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_numbers(arguments: Iterable[Any]) -> None:
    for value in arguments:
        if isinstance(value, int) and abs(value) > LONGEST_TEXT:
            raise SecurityError(f"the argument {value} is too large")


def _check_text_method(
    owner: str | bytes, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Check a call of a string's method; returns its arguments."""
    _check_numbers((*args, *kwargs.values()))
    first = args[0] if args else None
    if name in ("translate", "expandtabs"):
        raise SecurityError(f"the method {name!r} is not allowed in templates")
    if name == "replace":
        old, new = (*args[:2], *[kwargs.get(each) for each in ("old", "new")][len(args[:2]) :])
        if old is not None and new is not None:
            check_size(name, measure_replaced(owner, old, new))
    elif name == "join" and args:
        args = ([*args[0]], *args[1:])
        check_size(name, sum(len(item) + len(owner) for item in args[0]))
    elif name == "fromkeys" or name == "maketrans":
        return args
    elif name in ("rfind", "rindex", "rpartition", "rsplit"):  # they compare from every position
        first = kwargs.get("sep", first)
        require_few_steps(name, len(owner), len(first) if isinstance(first, str | bytes) else 1)
    elif name in ("strip", "lstrip", "rstrip") and isinstance(first, str | bytes):
        require_few_steps(name, len(owner), len(first))
    elif name in ("encode", "decode"):
        codec = str(kwargs.get("encoding", first or "utf-8"))
        if re.sub(r"[-_ ]", "", codec.lower()) not in _CODECS:
            raise SecurityError(f"the encoding {codec!r} is not allowed; use utf-8")
    return args


def _check_time_method(
    owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Refuse methods of dates and times that read the clock or the machine's time zone."""
    if name in _CLOCKS:
        raise SecurityError(f"the method {name!r} reads the clock; use a datetime column")
    if name == "strftime":
        _check_time_format(str(args[0] if args else kwargs.get("format", "")))
    elif name == "fromtimestamp":
        if len(args) < 2 and kwargs.get("tz") is None:
            raise SecurityError("fromtimestamp depends on the machine's time zone; pass tz")
    elif getattr(owner, "tzinfo", None) is None:
        raise SecurityError(
            f"{name} depends on the machine's time zone, because the value has none"
        )


def _check_time_format(pattern: str) -> None:
    if len(pattern) > _LONGEST_TIME_FORMAT or re.search(r"%[^a-zA-Z%]*s", pattern):
        raise SecurityError(
            f"the format {pattern[:20]!r} is too long, or depends on the machine's time zone"
        )
