"""Makes generated text safe to print: it must not control the terminal that shows it."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, change colours or reverse the direction of text."""


def make_printable(text: str) -> str:
    """Replace what would control a terminal, such as escape sequences, by visible characters."""
    text = text.replace("\r\n", "\n")
    return _CONTROLS.sub(lambda found: _make_visible(found[0]), text)


def _make_visible(letter: str) -> str:
    if letter < " ":
        return chr(0x2400 + ord(letter))  # the pictures of control characters
    return "\u2421" if letter == "\x7f" else "\ufffd"
