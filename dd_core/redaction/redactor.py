"""Finds secrets in text, in every form in which somebody may quote them, and masks them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from dd_core.redaction.rules import Secrets, is_unmistakable

MASK = "***"

_SHORTEST_PART = 8
"""Characters in a row by which a part of a secret is recognized in a message."""
_SHORTEST_PART_IN_ANSWERS = 10
"""The same in answers, where it is a quarter of a longer secret: every answer is searched."""
_SHORTEST_ENCODED_PART = 24
_AFTER_PREFIX = 6
"""Characters of such a part that are not a provider's prefix, which an answer may discuss."""
_PREFIX = re.compile(r"(?:[A-Za-z]{2,8}[-_])+(?:(?:api|v)\d+[-_])?")
_ESCAPE = re.compile(
    r"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})|%([0-9a-fA-F]{2})"
    r"|&#(?:x([0-9a-fA-F]{1,4})|(\d{1,4}));|\\+([\"'/\\])"
)
_ESCAPED_LETTER = re.compile(r"%[2-7][0-9A-Fa-f]|\\u00|\\x|&#[x\d]")
_MAX_ENCODINGS = 3
"""How many times a text may have been encoded one after the other."""

_Span = tuple[int, int]


class _Needle:
    """A text to find, as a whole or in parts of at least `least` characters.

    The first `prefix` characters of the text say nothing alone.
    """

    __slots__ = ("blocks", "least", "prefix", "text")

    def __init__(self, text: str, least: int, prefix: int = 0) -> None:
        self.text = text
        self.least = min(least, len(text))
        self.prefix = prefix
        size = (self.least + 1) // 2 if self.least < len(text) else self.least
        starts = range(0, len(text) - size + 1, size)
        self.blocks = [(start, text[start : start + size]) for start in starts]
        """Parts and their positions: every part of `least` characters contains one of them."""

    def is_enough(self, start: int, stop: int) -> bool:
        """Whether a part from `start` to `stop` has to be masked."""
        if stop - start < self.least:
            return False
        return not self.prefix or stop - max(start, self.prefix) >= _AFTER_PREFIX


class Redactor:
    """Masks the given secrets. `mask` is for messages, `mask_answer` for values of a dataset."""

    def __init__(self, found: Secrets) -> None:
        secrets = [*found.secrets]
        certain = [secret for secret in secrets if is_unmistakable(secret)]
        self._in_messages = [
            *(_Needle(secret, _SHORTEST_PART) for secret in secrets),
            *(
                _Needle(form, max(_SHORTEST_ENCODED_PART, len(form) // 2))
                for form in _encode(secrets)
            ),
            *(_Needle(text, len(text)) for text in found.texts),
        ]
        self._in_answers = [
            *(
                _Needle(
                    secret,
                    max(_SHORTEST_PART_IN_ANSWERS, len(secret) // 4),
                    _measure_prefix(secret),
                )
                for secret in certain
            ),
            *(_Needle(form, len(form)) for form in _encode(certain)),
        ]
        self._certain = [secret.encode() for secret in certain]
        self._blocks = [block for each in self._in_answers for _, block in each.blocks]

    def mask(self, text: str) -> str:
        """Mask all secrets and texts, and parts of secrets, in a message."""
        return _mask(text, self._in_messages)

    def mask_answer(self, text: str) -> str:
        """Mask the secrets that cannot be in a text by chance."""
        for block in self._blocks:
            if block in text:
                return _mask(text, self._in_answers)
        if "%" in text or "\\" in text or "&#" in text:
            escaped = self._blocks and _ESCAPED_LETTER.search(text)
            return _mask(text, self._in_answers) if escaped else text
        return text

    def is_in(self, content: bytes) -> bool:
        """Whether bytes contain a secret that cannot be in them by chance."""
        return any(secret in content for secret in self._certain)


def _encode(secrets: Iterable[str]) -> Iterator[str]:
    """The forms of secrets that are no escapes: base64, also of a text that contains the secret."""
    for secret in secrets:
        if not secret.isascii():
            yield quote(secret, safe="")
        content = secret.encode()
        if len(content) < _SHORTEST_PART:
            continue
        forms: set[str] = set()
        for before in range(3):  # the position of the secret in the groups of three bytes
            encoded = base64.b64encode(b"\0" * before + content).decode().rstrip("=")
            first = (0, 2, 3)[before]
            last = len(encoded) - bool((before + len(content)) % 3)
            forms.add(encoded[first:last])
            forms.add(encoded[first:last].replace("+", "-").replace("/", "_"))
        yield from forms


def _measure_prefix(secret: str) -> int:
    found = _PREFIX.match(secret)
    return found.end() if found else 0


def _mask(text: str, needles: Iterable[_Needle]) -> str:
    needles = [*needles]
    spans = [*_find_spans(text, needles)]
    for decoded, starts, stops in _decode(text):
        spans += [(starts[a], stops[b - 1]) for a, b in _find_spans(decoded, needles)]
    if not spans:
        return text
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def _find_spans(text: str, needles: Iterable[_Needle]) -> Iterator[_Span]:
    """The parts of a text that are needles or parts of them."""
    for needle in needles:
        for offset, block in needle.blocks:
            at = text.find(block)
            while at >= 0:
                start, stop = _widen(text, at, needle.text, offset, len(block))
                if needle.is_enough(start - at + offset, stop - at + offset):
                    yield start, stop
                    at = text.find(block, max(stop - len(block), at) + 1)
                else:
                    at = text.find(block, at + 1)


def _widen(text: str, at: int, needle: str, offset: int, size: int) -> _Span:
    """The longest match around a match of `size` characters at `at`."""
    before = 0
    most = min(at, offset)
    while before < most and text[at - before - 1] == needle[offset - before - 1]:
        before += 1
    after = size
    most = min(len(text) - at, len(needle) - offset)
    while after < most and text[at + after] == needle[offset + after]:
        after += 1
    return at - before, at + after


def _decode(text: str) -> Iterator[tuple[str, list[int], list[int]]]:
    r"""The text without escapes such as `\u0041`, `%41` and `&#65;`, as often as it has some.

    With where each character starts and stops in the original text.
    """
    starts, stops = [*range(len(text))], [*range(1, len(text) + 1)]
    for _ in range(_MAX_ENCODINGS):
        letters: list[str] = []
        new_starts: list[int] = []
        new_stops: list[int] = []
        end = 0
        for found in _ESCAPE.finditer(text):
            start, stop = found.span()
            letters += [text[end:start], _unescape(found)]
            new_starts += [*starts[end:start], starts[start]]
            new_stops += [*stops[end:start], stops[stop - 1]]
            end = stop
        if not letters:
            return
        text = "".join([*letters, text[end:]])
        starts = [*new_starts, *starts[end:]]
        stops = [*new_stops, *stops[end:]]
        yield text, starts, stops


def _unescape(found: re.Match[str]) -> str:
    if (decimal := found[5]) is not None:
        return chr(int(decimal))
    if (letter := found[6]) is not None:
        return letter
    return chr(int(next(code for code in found.groups() if code is not None), 16))
