"""Judges an answer before anything is parsed: whether it is one at all, and whether it is whole.

Text, code, JSON, scores, embeddings and images all pass this judgement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dd_core.models.wire.answers import Images, Reply, Vectors
from dd_core.models.wire.media import detect_image_format, is_whole_image
from dd_core.models.wire.reasoning import is_reasoning_open

_QUOTED_LENGTH = 200


class Verdict(StrEnum):
    """What an answer is."""

    USABLE = "usable"
    EMPTY = "empty"
    """No text, or nothing but reasoning."""
    REFUSED = "refused"
    """The model declines."""
    FILTERED = "filtered"
    """The content filter of the provider withholds the answer or its end."""
    TRUNCATED = "truncated"
    """A limit of tokens ended the answer."""
    TOOL_CALL = "tool_call"
    """The model wants to call a tool instead of answering."""
    FAILED = "failed"
    """The server failed while it generated the answer."""


_HINTS = {
    Verdict.EMPTY: "check the prompt, and raise max_tokens if the model reasons",
    Verdict.REFUSED: "change the prompt or use another model",
    Verdict.FILTERED: "change the prompt or the content filter of the provider",
    Verdict.TRUNCATED: "raise the model's max_tokens or ask for shorter answers",
    Verdict.TOOL_CALL: "remove the tools from extra_body",
    Verdict.FAILED: "check the server",
}

_BY_FINISH_REASON: dict[str | None, Verdict] = {
    reason: verdict
    for verdict, reasons in {
        Verdict.USABLE: "stop end_turn stop_sequence eos eos_token",
        Verdict.TRUNCATED: "length max_tokens max_output_tokens model_length "
        "model_context_window_exceeded",
        Verdict.FILTERED: "content_filter content_filtered safety recitation blocklist "
        "prohibited_content spii sensitive image_safety",
        Verdict.REFUSED: "refusal",
        Verdict.FAILED: "error incomplete abort aborted cancelled insufficient_system_resource "
        "network_error pause_turn timeout malformed_function_call",
    }.items()
    for reason in reasons.split()
} | {None: Verdict.USABLE}
"""Verdicts by finish reason; other reasons say nothing about the answer."""

_INVISIBLE = re.compile(r"(?:[\s\0\u00ad\u200b-\u200f\u2060\ufeff]|<\|[\w\u2581]+\|>|</?s>)*")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer is, and why it is not usable."""

    verdict: Verdict
    reason: str = ""
    has_text: bool = True
    """Whether a truncated answer has a beginning that could be kept."""

    @property
    def hint(self) -> str:
        """What the user can do about it."""
        return _HINTS.get(self.verdict, "")


_USABLE = Judgement(Verdict.USABLE)


def is_blank(text: str) -> bool:
    """Whether text has nothing visible: whitespace, zero-width characters, special tokens."""
    return not text or _INVISIBLE.fullmatch(text) is not None


def judge_reply(reply: Reply, text: str, *, exact: bool = False) -> Judgement:
    """Judge an answer of a chat model; `text` is its text without the reasoning.

    With `exact`, the text is taken as it is, and markers of reasoning in it are text, too.
    """
    verdict = _judge_finish_reason(reply.finish_reason)
    if verdict is Verdict.USABLE:
        if reply.refusal:
            verdict = Verdict.REFUSED
        elif reply.tool_calls:
            verdict = Verdict.TOOL_CALL
        elif is_blank(text):
            verdict = Verdict.EMPTY
        else:
            return _USABLE
    match verdict:
        case Verdict.TRUNCATED:
            is_open = not exact and is_reasoning_open(reply.text)
            has_text = not is_blank(text) and not is_open
            where = "before its end" if has_text else "before it had any text"
            return Judgement(verdict, f"the answer was cut off {where}", has_text)
        case Verdict.REFUSED:
            said = _quote(reply.refusal or text)
            return Judgement(verdict, f"the model refused to answer{said}")
        case Verdict.FILTERED:
            return Judgement(verdict, "the provider's content filter withheld the answer")
        case Verdict.TOOL_CALL:
            return Judgement(verdict, "the model called a tool instead of answering")
        case Verdict.FAILED:
            reason = f"the server ended the answer with {reply.finish_reason!r}"
            return Judgement(verdict, reason)
        case _:
            only = " except reasoning" if reply.reasoning or reply.text else ""
            return Judgement(verdict, f"the answer was empty{only}")


def judge_vectors(answer: Vectors, expected: int) -> Judgement:
    """Judge embeddings of a number of inputs."""
    vectors = answer.vectors
    whole = sum(map(bool, vectors))
    if len(vectors) != expected or whole != expected:
        verdict = Verdict.TRUNCATED if whole else Verdict.EMPTY
        return Judgement(verdict, f"returned {whole} vectors for {expected} inputs")
    if len({len(vector) for vector in vectors}) > 1:
        return Judgement(Verdict.FAILED, "returned vectors of different lengths")
    # The sum is infinite or NaN if a number is, and much faster than a look at each number.
    if not all(math.isfinite(sum(vector)) or _is_finite(vector) for vector in vectors):
        return Judgement(Verdict.FAILED, "returned a vector with NaN or infinity")
    return _USABLE


def judge_images(answer: Images) -> Judgement:
    """Judge generated images, which have been fetched."""
    verdict = _judge_finish_reason(answer.finish_reason)
    if verdict is Verdict.USABLE and answer.refusal:
        verdict = Verdict.REFUSED
    if verdict in (Verdict.FILTERED, Verdict.REFUSED):
        said = _quote(answer.refusal or answer.text)
        return Judgement(verdict, f"answered without an image ({verdict}){said}")
    if not answer.found:
        said = _quote(answer.text)
        return Judgement(Verdict.EMPTY, f"answered without an image{said}")
    for image in answer.found:
        if not isinstance(image, bytes):
            continue
        # Formats that are not known here are reported by the column.
        if detect_image_format(image) is None:
            if _is_text(image):
                said = _quote(image[:_QUOTED_LENGTH].decode(errors="ignore"))
                return Judgement(Verdict.FAILED, f"answered with text instead of an image{said}")
        elif not is_whole_image(image):
            return Judgement(Verdict.TRUNCATED, "answered with an image that is damaged")
    return _USABLE


def _judge_finish_reason(reason: str | None) -> Verdict:
    verdict = _BY_FINISH_REASON.get(reason)
    if verdict is not None:
        return verdict
    # Routers pass on the reasons of others: "SAFETY", "content_filter: PROHIBITED_CONTENT".
    word = re.split(r"[^\w]", str(reason).lower())[0]
    return _BY_FINISH_REASON.get(word, Verdict.USABLE)


def _is_finite(vector: Sequence[float]) -> bool:
    return all(map(math.isfinite, vector))


def _is_text(content: bytes) -> bool:
    """Whether bytes are nothing or text, such as the error page of a proxy."""
    try:
        start = content[:_QUOTED_LENGTH].decode()
    except UnicodeDecodeError as error:
        if error.start < len(content[:_QUOTED_LENGTH]) - 3:  # not just cut in a character
            return False
        start = content[: error.start].decode()
    return "\0" not in start


def _quote(text: str) -> str:
    words = " ".join(text.split())
    return f": {words[:_QUOTED_LENGTH]!r}" if words else ""
