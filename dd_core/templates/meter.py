"""What a rendering may cost, and where it takes its random choices from.

The work of a rendering is counted in characters: an operation counts what it produces, and an item
of a list or an iteration of a loop counts `ITEM`. The count depends on the template and its values
alone, so a template fails on every machine or on none. The clock only ends what the count does not
see.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from decimal import Decimal
from hashlib import blake2b
from time import monotonic, thread_time
from typing import Any, cast

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import Namespace

from dd_core.storage.batch import NumberedRow

LONGEST_TEXT = 512_000
"""Maximum number of characters of a rendered text, or of the result of one operation in it."""
MOST_WORK = 50_000_000
"""Maximum work of a rendering, in characters."""
ITEM = 25
"""Work that an item of a list, a number or an iteration of a loop counts."""
MOST_SECONDS = 1.0
"""Time after which a rendering is ended."""
MOST_BITS = 16_384
"""Maximum size of an integer; Python does not print integers that are much larger."""

SHORT = 200
"""Length in characters up to which a text is not counted when an operation produces it."""
_FEW = 16  # iterations that are counted at once
_STRIDE = 8  # iterations between two looks at the clock
_CONTAINERS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)
SCALARS = frozenset([int, float, bool, type(None)])


class TooMuchWorkError(SecurityError):
    """A rendering that exceeds `MOST_WORK` or `MOST_SECONDS`."""


class RenderContext(Context):
    """Jinja's context of one rendering, which counts its work and makes its random choices.

    It starts from attributes of the class: most renderings count nothing.
    """

    source: str = ""
    """The template."""
    row: Mapping[str, object] = {}
    """The row that it is rendered for."""
    _work = 0
    _deadline = 0.0
    _started: float | None = None
    _drawn = 0

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 (Jinja's name)
        """Return a context with more variables, for a block; this one goes on counting."""
        context = super().derived(locals)
        vars(context).update(charge=self.charge, draw=self.draw)
        return context

    def charge(self, amount: int) -> None:
        """Count work; raises `TooMuchWorkError` if it is too much, or takes too long."""
        self._work += amount
        now = monotonic()
        if self._work > MOST_WORK or now > self._deadline:
            self._look_again(now)

    def _look_again(self, now: float) -> None:
        """End the rendering if the time went into it, rather than into a pause of the process."""
        if self._work > MOST_WORK:
            raise TooMuchWorkError(
                f"it produces more than {MOST_WORK:,} characters (a list item or an iteration "
                f"counts as {ITEM}); shorten its loops or the values that it uses"
            )
        if self._started is not None and thread_time() - self._started > MOST_SECONDS / 2:
            raise TooMuchWorkError(
                f"it takes longer than {MOST_SECONDS:g} s; shorten its loops or the values that "
                "it uses"
            )
        if self._started is None and self._deadline:
            self._started = thread_time()
        self._deadline = now + MOST_SECONDS / 2

    def count(self, items: Iterable[Any]) -> Iterable[Any]:
        """Return the items in a form in which their iteration is counted."""
        try:
            size = len(items)  # pyright: ignore[reportArgumentType]
        except TypeError:
            return self._tick(items)
        if size > _FEW:
            return self._tick(items)
        self.charge(ITEM * (size + 1))
        return items

    def _tick(self, items: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number % _STRIDE == 0:
                self.charge(ITEM * _STRIDE)
            yield item

    def draw(self, size: int) -> int:
        """Return the next random number from 0 to `size - 1`.

        It depends on the seed of the dataset, the column, the row, the template, and how many
        numbers the rendering has drawn before.
        """
        row = self.row
        place = f"{row.seed}/{row.number}/{row.column}" if isinstance(row, NumberedRow) else "//"
        self._drawn += 1
        key = f"{self._drawn}/{place}/{self.source}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(key, digest_size=16).digest(), "little") % size

    def settle(self, result: Any) -> Any:
        """Return the result of an operation as templates see it, and count it.

        Iterators become lists: their text would be an address in memory. Raises `SecurityError` if
        the result is too large.
        """
        kind = type(result)
        if kind is str:
            if len(result) > SHORT:
                self.charge(len(result))
            return result
        if kind is int:
            return admit_integer(result)
        if kind in SCALARS:
            return result
        if isinstance(result, Iterator):
            result = list(self.count(cast("Iterator[Any]", result)))
        self.charge(measure(result, is_printed=False))
        return result


def admit_integer(value: int) -> int:
    """Return an integer; raises `SecurityError` if it has more than `MOST_BITS` bits."""
    if value.bit_length() > MOST_BITS:
        raise SecurityError(f"an integer has more than {MOST_BITS} bits")
    return value


def measure(value: Any, *, is_printed: bool = True, indent: int = 0) -> int:
    """Return roughly how many characters the text of a value has.

    `indent` is the number of characters by which each level of nesting is indented. Raises
    `TooMuchWorkError` if there are more than `MOST_WORK`, without counting them all, and
    `SecurityError` for an object whose text would be a memory address if it is to be printed.
    """
    kind = type(value)
    if kind is str:
        return len(value)
    if kind in SCALARS:
        return ITEM if kind is not int else max(ITEM, value.bit_length() // 3)
    if kind is list and not indent and {*map(type, value)} == {str}:
        return sum(map(len, value)) + ITEM * len(value)
    total = depth = 0
    level: list[Any] = [value]
    while level:
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind in SCALARS and (kind is not int or -(2**63) <= item < 2**63):
                total += ITEM + depth * indent
                continue
            total += ITEM + depth * indent + _measure_leaf(item, is_printed=is_printed)
            if isinstance(item, dict):
                members = cast("dict[Any, Any]", item)
                deeper += members.keys()
                deeper += members.values()
            elif isinstance(item, _CONTAINERS):
                deeper += cast("Iterable[Any]", item)
            if total + len(deeper) * (ITEM + depth * indent) > MOST_WORK:
                raise TooMuchWorkError(f"a value has more than {MOST_WORK:,} characters")
        level = deeper
        depth += 1
    return total


def _measure_leaf(item: Any, *, is_printed: bool) -> int:
    """Return how many characters a value has, without its members."""
    if isinstance(item, str | bytes | bytearray):
        return len(item)
    if isinstance(item, int):
        return item.bit_length() // 3
    if isinstance(item, Decimal):
        return abs(item.adjusted()) if item.is_finite() else 0
    if is_printed:
        require_text(item)
    return 0


def require_text(value: Any) -> None:
    """Raise `SecurityError` for an object that Python would print as an address in memory."""
    if isinstance(value, Undefined):
        return
    if callable(value):
        raise SecurityError("it prints a function; call the function, or print a value")
    kind = type(value)
    if kind is Namespace:  # its text holds all members, which may hold each other many times
        raise SecurityError("it prints a namespace; print its members")
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise SecurityError(f"it prints a {kind.__name__}, which has no text; print its members")
