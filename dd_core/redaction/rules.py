"""Decides what is a secret: in headers, in the bodies of requests, and in addresses.

There are two degrees. A *secret* is an API key, a password, a text under a name such as `token`, or
a text that looks random. A *text* is anything else of a certain length that a configuration adds to
requests, such as `json_object`. Texts are masked in messages only, because a dataset may well
contain them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

BLOCK_PREFIX = "block:"
"""Prefix of a reference to a Prefect block."""
WRITTEN_MASK = "(masked)"
"""What stands for a secret in a configuration that was written."""

_SHORTEST_SECRET = 4
_SHORTEST_TEXT = 8
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_PARTS = frozenset(
    (
        *("auth", "authorization", "bearer", "cookie", "credential", "credentials", "jwt", "pass"),
        *("passphrase", "passwd", "pwd", "sas", "sig", "signature"),
    )
)
_SECRET_ENDS = ("key", "token", "secret", "password")
_INNOCENT_PARTS = frozenset(
    ("bos", "cache", "eos", "foreign", "idempotency", "pad", "partition", "primary", "sort")
)
_IN_QUERIES = frozenset(("code",))
_PUBLIC_NAMES = ("model", "models")
"""Names of fields whose values messages have to show."""
_KEY_PREFIX = re.compile(r"(?:sk|pk|rk|hf|ghp|gho|gsk|glpat|nvapi|xai|pplx|xox[abp]|AIza|AKIA|eyJ)")
_BETWEEN_WORDS = re.compile(r"[\s,;\"']+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_LETTER_TO_DIGIT = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_LONG_PIECE = 20
_USER = re.compile(r"(?:^|(?<=//))[^/?#\s]*@")
_PAIR = re.compile(r"([^?&=#\s]+)=([^&#\s]+)")


def _in_any_case(word: str) -> str:
    """A pattern of the word in its usual spellings; JSON schemas cannot ignore the case."""
    return f"{word}|{word.title()}|{word.upper()}"


_VARIABLE = r"([A-Za-z]+ )?\$\{[A-Za-z_][A-Za-z0-9_]*\}"
"""`${NAME}`, perhaps after a scheme such as `Bearer`."""
REFERENCE_PATTERN = rf"^({BLOCK_PREFIX}.+|[A-Z0-9_]*_[A-Z0-9_]*|{_VARIABLE})$"
"""What `is_key_reference` accepts, for JSON schemas."""
VARIABLE_PATTERN = (
    r"^(?!(sk|pk|rk|hf|gsk|ghp|gho)_[A-Za-z0-9_]*[0-9])(?![A-Za-z0-9]{32,}$)[A-Za-z_][A-Za-z0-9_]*$"
)
"""The name of a variable and not one of the commonest keys, for JSON schemas."""
ADDRESS_PATTERN = r"^(?!([^/?#]*//)?[^/?#]*@)"
"""An address without a user or a password, for JSON schemas."""
SECRET_NAME_PATTERN = "^(?!.*({})).*({})$".format(
    "|".join(map(_in_any_case, sorted(_INNOCENT_PARTS))),
    "|".join(map(_in_any_case, ("authorization", "cookie", *_SECRET_ENDS))),
)
"""The commonest names that `is_secret_name` recognizes, for JSON schemas."""


def parse_key_reference(secret: str) -> str | None:
    """Return the text if it names a variable or a block; None for a literal key or nothing."""
    is_variable = secret.isupper() and "_" in secret
    return secret if is_variable or secret.startswith(BLOCK_PREFIX) else None


def is_key_reference(value: str) -> bool:
    """Whether a value only refers to a key: to a variable or a block, or as in `Bearer ${NAME}`."""
    return parse_key_reference(value) is not None or re.fullmatch(_VARIABLE, value) is not None


def is_variable_name(value: str) -> bool:
    """Whether a value can be the name of a variable, and is not a key that somebody entered."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
        return False
    return parse_key_reference(value) is not None or not is_random(value)


def is_secret_name(name: str) -> bool:
    """Whether a header, field or parameter of this name holds a key, such as `x-api-key`."""
    parts = [part.lower() for part in _NAME_PARTS.findall(name)]
    if any(part in _INNOCENT_PARTS for part in parts):
        return False
    return any(part in _SECRET_PARTS or part.endswith(_SECRET_ENDS) for part in parts)


def is_random(word: str) -> bool:
    """Whether a word looks like a generated key: letters and digits alternate, as in `7f3a9c`.

    Names of models and versions, such as `gpt-4.1-mini` or `2024-06-01`, do not.
    """
    if len(word) < _SHORTEST_TEXT:
        return False
    if _KEY_PREFIX.match(word) and len(word) >= 12 and re.search(r"\d", word):
        return True
    for piece in _PIECE.findall(word):
        changes = len(_LETTER_TO_DIGIT.findall(piece))
        if (len(piece) >= 6 and changes >= 4) or (len(piece) >= _LONG_PIECE and changes >= 2):
            return True
    return False


def is_unmistakable(secret: str) -> bool:
    """Whether text that contains the secret cannot contain it by chance, as `EMPTY` or `test`."""
    has_digit = any(letter.isdigit() for letter in secret)
    return len(secret) >= (8 if has_digit else 16) and not secret.isalpha()


class Secrets:
    """The secrets of a request or of a process, and texts that might be secrets."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.texts: set[str] = set()

    def add_secret(self, value: str) -> None:
        """Add a key or a password: as a whole and word by word, with decoded credentials."""
        for word in {value.strip(), *_split_words(value)}:
            if len(word) >= _SHORTEST_SECRET:
                self.secrets.add(word)
            for part in _decode_credentials(word):
                if len(part) >= _SHORTEST_SECRET:
                    self.secrets.add(part)

    def add_text(self, value: str, name: str = "") -> None:
        """Add a text that is sent; it is a secret if it looks random."""
        if len(value) >= _SHORTEST_TEXT and name not in _PUBLIC_NAMES:
            self.texts.add(value)
        for word in _split_words(value):
            if is_random(word) or _decode_credentials(word):
                self.add_secret(word)
        if "://" in value:
            self.add_address(value)

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Add the values of headers; every word of a value counts."""
        for name, value in headers.items():
            if is_secret_name(name):
                scheme, _, token = value.strip().partition(" ")
                self.add_secret(token if token and scheme.isalpha() else value)
                self.texts.add(value.strip())
                continue
            self.add_text(value)
            self.texts.update(w for w in _split_words(value) if len(w) >= _SHORTEST_TEXT)

    def add_fields(self, value: Any, name: str = "") -> None:
        """Add all texts in a value of JSON types."""
        if isinstance(value, Mapping):
            for key, member in cast("Mapping[Any, Any]", value).items():
                self.add_fields(member, name if is_secret_name(name) else str(key))
        elif isinstance(value, list | tuple):
            for member in cast("Iterable[Any]", value):
                self.add_fields(member, name)
        elif isinstance(value, str) and not parse_key_reference(value):
            if is_secret_name(name):
                self.add_secret(value)
            else:
                self.add_text(value, name)

    def add_address(self, address: str) -> None:
        """Add the user, the password and the query of an address."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return
        user, at, _ = parts.netloc.rpartition("@")
        if at:
            for part in {user, *user.split(":", 1)}:
                self.add_secret(part)
                self.add_secret(unquote(part))
        for name, value in parse_qsl(parts.query):
            if is_secret_name(name) or name.lower() in _IN_QUERIES:
                self.add_secret(value)
            else:
                self.add_text(value)

    def add(self, other: Secrets) -> None:
        """Add the secrets and texts of another one."""
        self.secrets |= other.secrets
        self.texts |= other.texts


def mask_address(address: str) -> str:
    """An address as it may be written: without a user, a password or keys in its query."""
    masked = _USER.sub(f"{WRITTEN_MASK}@", address)

    def mask_pair(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        is_secret = is_secret_name(name) or name.lower() in _IN_QUERIES or is_random(unquote(value))
        return f"{name}={WRITTEN_MASK}" if is_secret else found[0]

    head, mark, query = masked.partition("?")
    return head + mark + _PAIR.sub(mask_pair, query)


def mask_fields(value: Any, name: str = "") -> Any:
    """A value of JSON types as it may be written: without secrets.

    Texts under a secret name are masked as a whole; elsewhere, words that look random.
    """
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        is_secret = is_secret_name(name)
        return {
            key: mask_fields(member, name if is_secret else str(key))
            for key, member in fields.items()
        }
    if isinstance(value, list | tuple):
        return [mask_fields(member, name) for member in cast("Iterable[Any]", value)]
    if not isinstance(value, str) or is_key_reference(value):
        return value
    if is_secret_name(name) and len(value) >= _SHORTEST_SECRET:
        return WRITTEN_MASK
    if "://" in value:
        return mask_address(value)
    for word in _split_words(value):
        if is_random(word) or _decode_credentials(word):
            value = value.replace(word, WRITTEN_MASK)
    return value


def mask_arguments(arguments: Iterable[str]) -> list[str]:
    """Arguments of a program as they may be written: without keys, as in `--api-key KEY`."""
    masked: list[str] = []
    option = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("-") and equals:
            masked.append(f"{name}={mask_fields(value, name)}")
        else:
            masked.append(mask_fields(argument, option))
        option = argument if argument.startswith("-") and not equals else ""
    return masked


def is_masked(value: Any) -> bool:
    """Whether a value of JSON types contains the mask of a secret that was not written."""
    if isinstance(value, Mapping):
        return any(map(is_masked, cast("Mapping[Any, Any]", value).values()))
    if isinstance(value, list | tuple):
        return any(map(is_masked, cast("Iterable[Any]", value)))
    return isinstance(value, str) and WRITTEN_MASK in value


def _split_words(value: str) -> list[str]:
    """The words of a value; `session=abc` counts as two, and as one."""
    words = [word for word in _BETWEEN_WORDS.split(value) if word]
    return words + [part for word in words if "=" in word.rstrip("=") for part in word.split("=")]


def _decode_credentials(word: str) -> list[str]:
    """User and password of `Basic` credentials; empty if the word is not their base64."""
    if not _BASE64.fullmatch(word):
        return []
    try:
        padded = word.rstrip("=") + "=" * (-len(word.rstrip("=")) % 4)
        decoded = base64.b64decode(padded, altchars=b"-_" if re.search("[-_]", word) else None)
        text = decoded.decode("ascii")
    except (binascii.Error, ValueError):
        return []
    return [text, *text.split(":", 1)] if text.isprintable() and ":" in text else []
