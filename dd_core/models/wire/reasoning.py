"""Separates an answer from the reasoning that models and their chat templates write into its text.

Servers should return reasoning in a field of its own. Those that do not know a model's format leave
its markers in the text.
"""

from __future__ import annotations

import re

from dd_core.models.wire.answers import strip_text

_NAMES = r"(?:[a-z]+[:_])?(?:think|thinking|reasoning|thought)"
_PAIRS = (
    (rf"<({_NAMES})>", r"</\1>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
)
_FLAGS = re.DOTALL | re.IGNORECASE
_BLOCK = re.compile(
    r"[\s\ufeff]*(?:"
    + "|".join(rf"{opening}(.*?)(?:{closing}|\Z)" for opening, closing in _PAIRS)
    + ")",
    _FLAGS,
)
_OPENING = re.compile("|".join(opening for opening, _ in _PAIRS), _FLAGS)
_CLOSING = re.compile("|".join([rf"</{_NAMES}>", *(closing for _, closing in _PAIRS[1:])]), _FLAGS)
_WRAPPED = re.compile(
    r"\s*<\|(?:begin_of_solution|START_RESPONSE)\|>(.*?)"
    r"(?:<\|(?:end_of_solution|END_RESPONSE)\|>\s*)?\Z",
    _FLAGS,
)
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)"
    r"(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_IN_CHANNELS = re.compile(
    r"\s*(?:<\|start\|>\w+)?\s*<\|channel\|>|.*<\|start\|>assistant\s*<\|channel\|>final",
    re.DOTALL,
)
_BARE_CHANNELS = re.compile(r"analysis(.*?)assistantfinal(.*)", re.DOTALL)
"""Channels from which the server removed the markers."""


def strip_reasoning(text: str) -> tuple[str, str | None]:
    """Split an answer from the reasoning that some models put before it: (answer, reasoning)."""
    if text.startswith("analysis") and (bare := _BARE_CHANNELS.fullmatch(text)):
        return bare[2].strip(), bare[1].strip() or None
    if "<" not in text and "THINK]" not in text and "◁" not in text:
        return text, None
    if "<|channel|>" in text and _IN_CHANNELS.match(text):
        return _read_channels(text)
    thoughts: list[str] = []
    while (block := _BLOCK.match(text)) and block.lastindex:
        thoughts.append(block[block.lastindex].strip())
        text = strip_text(text[block.end() :])
    if not thoughts:
        # Some chat templates put the opening tag into the prompt, so only the closing tag remains.
        closing = _CLOSING.search(text)
        if closing is None:
            return text, None
        thoughts.append(text[: closing.start()].strip())
        text = strip_text(text[closing.end() :])
    if wrapped := _WRAPPED.fullmatch(text):
        text = strip_text(wrapped[1])
    return text, "\n".join(thoughts) or None


def is_reasoning_open(text: str) -> bool:
    """Whether text contains the beginning of reasoning, but not its end."""
    ends = [opening.end() for opening in _OPENING.finditer(text)]
    return bool(ends) and _CLOSING.search(text, ends[-1]) is None


def _read_channels(text: str) -> tuple[str, str | None]:
    """Read the channels of a gpt-oss model: `final` has the answer, the others lead to it."""
    parts: dict[bool, list[str]] = {True: [], False: []}
    first = text.find("<|channel|>")
    if first > 0 and not text.startswith("<|start|>"):
        parts[False].append(text[:first].partition("<|end|>")[0].strip())
    for channel, content in _CHANNEL.findall(text):
        parts[channel == "final"].append(content.strip())
    return "\n".join(parts[True]), "\n".join(filter(None, parts[False])) or None
