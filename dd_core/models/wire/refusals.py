"""What the refusal of a server means: its status first, then the codes of its body, words last.

Servers quote prompts, and limits per minute speak of quotas and plans. So words alone never say
that the whole run has to stop (`ModelError.is_certain`); `StopEvidence` waits for more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson

from dd_core.errors import (
    ModelAuthenticationError,
    ModelBadRequestError,
    ModelContentFilteredError,
    ModelContextWindowExceededError,
    ModelError,
    ModelInternalServerError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from dd_core.models.wire.body import decode_body
from dd_core.models.wire.waits import parse_duration, parse_wait

_MAX_DEPTH = 5
_MAX_WORDS = 50_000
_MAX_READ = 2_000
"""Number of characters in which words are looked for."""
_UNSUPPORTED = (501, 505)
"""Statuses of servers that do not know what a request asks for; a retry changes nothing."""
_NESTED = ("error", "errors", "base_resp", "innererror", "inner_error", "details", "metadata",
           "violations")  # fmt: skip
_CODES = ("code", "type", "status", "reason", "param", "@type", "quotaId")


def _plain(code: str) -> str:
    return re.sub(r"[^a-z0-9]", "", code.lower())


def _codes(*names: str) -> frozenset[str]:
    return frozenset(map(_plain, names))


_QUOTA_CODES = _codes(
    "insufficient_quota", "insufficient_balance", "insufficient_credits", "insufficient_funds",
    "billing_hard_limit_reached", "billing_not_active", "billing_error", "billing_disabled",
    "credit_balance_too_low", "exceeded_current_quota_error", "payment_required",
    "account_overdue", "account_overdue_error", "arrearage",
)  # fmt: skip
_RATE_CODES = _codes(
    "rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "rate_limited",
    "too_many_requests", "throttling", "throttling_exception", "slow_down",
)  # fmt: skip
_RATE_TYPES = _RATE_CODES | _codes("requests", "tokens", "type.googleapis.com/google.rpc.RetryInfo")
"""Codes that confirm a 429, but alone would not make one of another status."""
_FILTER_CODES = _codes(
    "content_filter", "content_filtered", "content_policy_violation", "moderation",
    "ResponsibleAIPolicyViolation", "moderation_blocked", "data_inspection_failed", "safety",
    "prompt_blocked", "invalid_prompt", "content_moderation", "sensitive_content",
    "image_content_policy_violation",
)  # fmt: skip
_CONTEXT_CODES = _codes(
    "context_length_exceeded", "string_above_max_length", "exceed_context_size_error",
    "prompt_too_long", "request_too_large",
)  # fmt: skip
_KEY_CODES = _codes("invalid_api_key", "api_key_invalid", "authentication_error",
                    "invalid_authentication", "unauthenticated", "account_deactivated")  # fmt: skip
_MODEL_CODES = _codes("model_not_found", "not_found_error", "deployment_not_found",
                      "model_not_exist", "invalid_model")  # fmt: skip

_STATUS_CODES = {
    "1001": 408, "1002": 429, "1004": 401, "1008": 402, "1026": 400, "1027": 400, "1039": 413,
    "2013": 400, "2049": 401,
}  # fmt: skip
"""The statuses that the codes in MiniMax's `base_resp` stand for."""
_SCHEMA_CODES = _codes("response_format", "response_format.type", "response_format.json_schema",
                       "json_schema", "text.format", "guided_json")  # fmt: skip
_QUOTA_WORDS = re.compile(
    r"insufficient.quota|exceeded your current quota|insufficient (credit|balance|funds)"
    r"|credit balance|(out|not enough|requires more) (of )?credits|billing|payment required",
    re.I,
)
_ACCOUNT_WORDS = re.compile(
    r"^\W*(your )?(credit balance (is )?too low|(account )?balance is (too low|not enough)"
    r"|(account )?balance is insufficient|you exceeded your current quota|insufficient_quota"
    r"|insufficient (credit|balance|funds)|(you are )?out of credits)",
    re.I,
)
"""Words at the beginning of a message, where no prompt is quoted."""
_FILTER_WORDS = re.compile(
    r"flagged|moderation|content (management )?polic|content.filter|safety (system|filter|polic)"
    r"|usage polic|responsible ai|inappropriate",
    re.I,
)
_CONTEXT_WORDS = re.compile(
    r"context length|context window|maximum context|context_length|prompt is too long", re.I
)
_RATE_WORDS = re.compile(r"rate.?limit|too many requests", re.I)
_TOO_LARGE_WORDS = re.compile(r"^\W*request too large", re.I)
"""One request exceeds the limit of a whole minute, so that waiting does not help."""
_QUOTATION = re.compile(r"""(?<!\w)(['"`])[^'"`]*\s[^'"`]*\1(?!\w)|“[^”]*\s[^”]*”""")
"""A quoted passage of several words, which may come from a prompt."""
_SCHEMA_WORDS = re.compile(
    r"response_?format|json_?schema|structured.outputs?|guided_json|guided decoding|grammar", re.I
)
_WAIT_WORDS = re.compile(
    r"(?:re)?try (?:again |your request )?(?:in|after)\s+((?:\d+(?:\.\d+)?\s*"
    r"(?:milliseconds?|minutes?|mins?|ms|seconds?|secs?|s|hours?|h|days?|d|m)[\s,]*(?:and\s+)?)+)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server says when it does not answer a request."""

    status: int
    words: str
    """The provider's words in full, on one line."""
    codes: frozenset[str]
    """Codes and types in the body, in lower case without punctuation."""
    retry_after: float | None = None
    """The wait in seconds that the server asks for."""
    is_moderated: bool = False
    """Whether the body contains the findings of a moderation."""
    is_daily: bool = False
    """Whether the body names a limit per day."""


def read_refusal(status: int, headers: Mapping[str, str], content: bytes) -> Refusal:
    """Read the answer with an error status; any body is accepted."""
    try:
        body: Any = orjson.loads(content)
    except ValueError:
        body = None
    words = _find_words(body) or content[:_MAX_WORDS].decode("utf-8", "replace")
    return _refusal(status, body, words, parse_wait(headers))


def read_error_in_answer(content: bytes, headers: Mapping[str, str]) -> Refusal | None:
    """The error in the body of a 200: at its top, or in its first choice. None without one."""
    if b'"error"' not in content:
        return None
    try:
        # Google's servers put an error into a list.
        listed = content.strip() if content.lstrip()[:1] == b"[" else b""
        answer = decode_body(listed[1:-1] or content)
    except ValueError:
        return None
    if not _says_something(answer.get("error")):
        choices: Any = answer.get("choices")
        answer = _object(
            cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else {}
        )
        if not _says_something(answer.get("error")):
            return None
    words = _find_words(answer) or str(answer["error"])
    found = _refusal(200, answer, words, parse_wait(headers))
    return replace(found, status=_embedded_status(answer["error"], found))


def read_error_without_answer(content: bytes) -> Refusal | None:
    """The error in the body of a 200 that is no answer, whatever its form; None without words."""
    try:
        body = decode_body(content)
    except ValueError:
        return None
    words = _find_words(body)
    if not words:
        return None
    found = _refusal(200, body, words, None)
    return replace(found, status=_embedded_status(_find_error(body), found))


def make_error(refusal: Refusal, message: str) -> ModelError:
    """The error that a refusal means; `message` says who refused what, without keys."""
    kind, fix, is_certain = _classify(refusal)
    text = f"{message}. {fix}" if fix else message
    if kind is ModelRateLimitError:
        error: ModelError = ModelRateLimitError(text, refusal.retry_after)
    else:
        error = kind(text)
    error.status, error.is_certain = refusal.status, is_certain
    if isinstance(error, ModelInternalServerError):
        error.retry_after = refusal.retry_after
    if isinstance(error, ModelBadRequestError):
        error.names_schema = _names_schema(refusal)
    return error


def _names_schema(refusal: Refusal) -> bool:
    """Whether the server says that it does not accept the JSON schema of the request."""
    if refusal.codes & _SCHEMA_CODES:
        return True
    return _SCHEMA_WORDS.search(_own_words(refusal)) is not None


def _own_words(refusal: Refusal) -> str:
    """The beginning of the server's words, without passages that it quotes."""
    return _QUOTATION.sub("", refusal.words[:_MAX_READ])


_Class = tuple[type[ModelError], str, bool]
_QUOTA_FIX = "Add credit or use another API key"


def _classify(refusal: Refusal) -> _Class:
    """The class of the error, what to do about it, and whether more than words say so."""
    status, codes, words = refusal.status, refusal.codes, _own_words(refusal)
    if status == 429:
        return _classify_429(refusal)
    if status == 408:
        return ModelTimeoutError, "", True
    if status in _UNSUPPORTED:
        return ModelBadRequestError, "Check the model's parameters", True
    if status >= 500:
        return ModelInternalServerError, "", True
    if status == 402:
        return ModelQuotaExceededError, _QUOTA_FIX, True
    if refusal.is_moderated or codes & _FILTER_CODES:
        return ModelContentFilteredError, "Change the prompt or use another model", True
    if status == 413 or codes & _CONTEXT_CODES:
        return ModelContextWindowExceededError, "Shorten the prompt", True
    if codes & _RATE_CODES and status in (400, 403):
        return ModelRateLimitError, "", True
    if codes & _QUOTA_CODES:
        return ModelQuotaExceededError, _QUOTA_FIX, True
    if status == 401 or codes & _KEY_CODES:
        return ModelAuthenticationError, "Check the API key", True
    if status == 404 and _names_schema(refusal):
        return ModelBadRequestError, "Check the model's parameters", False
    if status == 404 or codes & _MODEL_CODES:
        return ModelNotFoundError, "Check the model id and the URL", True
    if status in (400, 403, 422, 451) and _FILTER_WORDS.search(words):
        return ModelContentFilteredError, "Change the prompt or use another model", False
    if status in (400, 403) and _ACCOUNT_WORDS.search(words):
        return ModelQuotaExceededError, _QUOTA_FIX, False
    if status in (400, 422) and _CONTEXT_WORDS.search(words):
        return ModelContextWindowExceededError, "Shorten the prompt", False
    if status == 403:
        return ModelPermissionDeniedError, "Check the permissions of the API key", True
    return ModelBadRequestError, "Check the model's parameters", True


def _classify_429(refusal: Refusal) -> _Class:
    """A limit per minute, unless a code says that an account is empty.

    Words count only if the server does not say when it accepts the request.
    """
    if refusal.codes & _QUOTA_CODES or refusal.is_daily:
        return ModelQuotaExceededError, _QUOTA_FIX, True
    words = _own_words(refusal)
    if _TOO_LARGE_WORDS.search(words):
        return ModelContextWindowExceededError, "Shorten the prompt", False
    if refusal.retry_after is not None or refusal.codes & _RATE_TYPES:
        return ModelRateLimitError, "", True
    if _QUOTA_WORDS.search(words):
        return ModelQuotaExceededError, _QUOTA_FIX, False
    return ModelRateLimitError, "", True


def _refusal(status: int, body: Any, words: str, header_wait: float | None) -> Refusal:
    codes: set[str] = set()
    wait, is_moderated, is_daily = header_wait, False, False
    for part in _parts(body, 0):
        codes.update(_plain(str(part[name])) for name in _CODES if isinstance(part.get(name), str))
        if wait is None:
            wait = parse_duration(part.get("retryDelay") or part.get("retry_after"))
        is_moderated = is_moderated or "flagged_input" in part or bool(part.get("reasons"))
        is_daily = is_daily or "perday" in _plain(str(part.get("quotaId") or ""))
    # The words of a failed server may come from somewhere else, such as its own traceback.
    if wait is None and status < 500 and (found := _WAIT_WORDS.search(words[:_MAX_READ])):
        wait = parse_duration(found[1])
    said = " ".join(words[:_MAX_WORDS].split())
    return Refusal(status, said, frozenset(codes), wait, is_moderated, is_daily)


def _parts(body: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The objects of an error that describe it; not what it may quote of the request."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(body, list):
        for each in cast("list[Any]", body)[:20]:
            yield from _parts(each, depth + 1)
    elif isinstance(body, dict):
        part = cast("dict[str, Any]", body)
        yield part
        for name in _NESTED:
            if name in part:
                yield from _parts(part[name], depth + 1)


def _find_error(answer: dict[str, Any]) -> Any:
    """The part of a body that describes the error; the body itself if no member does."""
    error: Any = answer.get("error") or answer.get("errors")
    if not error:
        response: Any = answer.get("base_resp")  # MiniMax; its code 0 means success
        error = response if _object(response).get("status_code") else answer
    return cast("Any", error[0] if isinstance(error, list) and error else error)


def _find_words(body: Any) -> str:
    """The message of an error, from the usual JSON forms; empty if there is none."""
    if isinstance(body, list) and body:
        body = cast("list[Any]", body)[0]
    if not isinstance(body, dict):
        return ""
    answer = cast("dict[str, Any]", body)
    error = _find_error(answer)
    if not isinstance(error, dict):
        return str(cast("object", error))
    fields = cast("dict[str, Any]", error)
    said: Any = None
    for name in ("message", "msg", "detail", "error_description", "title", "status_msg"):
        said = said or fields.get(name) or answer.get(name)
    raw = _object(fields.get("metadata")).get("raw")
    return ": ".join(str(each) for each in (said, raw) if each)


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _says_something(error: Any) -> bool:
    if isinstance(error, dict):
        return any(_object(error).values())
    return isinstance(error, str) and bool(error.strip())


def _embedded_status(error: Any, found: Refusal) -> int:
    """The status that an error inside a 200 stands for."""
    fields = _object(error)
    for name in ("code", "status", "status_code", "statusCode", "http_status"):
        given = str(fields.get(name)).removesuffix(".0")
        if given.isdecimal() and len(given) == 3 and 400 <= int(given) < 600:
            return int(given)
        if name == "status_code" and given in _STATUS_CODES:
            return _STATUS_CODES[given]
    known = (
        (_QUOTA_CODES, 402), (_RATE_CODES, 429), (_codes("RESOURCE_EXHAUSTED"), 429),
        (_KEY_CODES, 401), (_MODEL_CODES, 404), (_FILTER_CODES | _CONTEXT_CODES, 400),
        (_codes("permission_error", "permission_denied"), 403),
        (_codes("invalid_request_error", "INVALID_ARGUMENT", "bad_request"), 400),
    )  # fmt: skip
    for codes, status in known:
        if found.codes & codes:
            return status
    if found.is_moderated or _CONTEXT_WORDS.search(_own_words(found)):
        return 400
    return 429 if _RATE_WORDS.search(_own_words(found)) else 502
